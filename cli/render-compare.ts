import { createPublicKey, type KeyObject } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { readPrivateKeyFile } from '../enclave-render/mastering/key-files.ts';
import { thumbprint } from '../enclave-render/mastering/public-key.ts';
import {
  type ComparedRender,
  compareRenders,
  type OutputComparison,
  type TaskComparison,
} from '../enclave-render/receipt/compare-renders.ts';
import { type VerifiedReceipt, verifyReceipt } from '../enclave-render/receipt/verify-receipt.ts';
import type { Isolation } from '../enclave-render/render/sandbox.ts';
import { openIdentity } from '../local/render-jobs.ts';
import { EXIT_NO, InputError, print, readText } from './command.ts';
import { receiptPolicy } from './receipt-policy.ts';
import { DEFAULT_DATA } from './up.ts';

const HELP = `
Says whether another render of the same job gave the same, task by task and output by output. OTHER is the receipt of another
render, whose outputs are then verified too, or a folder with outputs in clear, <task id>/<name>, as somebody rendered them without
an enclave. Both receipts have to be genuine. Compared is the plaintext, by the salted hash in the first receipt: the key of the
salt comes from the outputs of that, of which the manifests are enough.
Exit codes: 0 the same, 1 not the same, 2 bad usage or input, such as a receipt that is not genuine.

Examples:
  root=$(portcullis render keys --json | jq -r .simulatorRoot)
  portcullis render compare one.json two.json --outputs one --other-outputs two --root $root
  portcullis render compare one.json rendered-again --outputs one --root $root --json`;

interface CompareOptions {
  data: string;
  outputs: string;
  otherOutputs?: string;
  root?: string[];
  ownerKey?: string[];
  privateKey?: string[];
  isolation: Isolation;
  json?: true;
}

/** Registers `render compare`. */
export function registerRenderCompare(render: Command): void {
  const collect = (text: string, previous: string[] = []) => [...previous, text];
  render
    .command('compare')
    .description('say whether two renders of a job gave the same')
    .argument('<receipt>', 'JSON file')
    .argument('<other>', 'JSON file of another receipt, or a folder of outputs in clear')
    .requiredOption('--outputs <folder>', 'outputs of the first, or their manifests')
    .option('--other-outputs <folder>', 'outputs of the other, when that is a receipt')
    .option('--root <sha256>', 'fingerprint of a root to trust beside that of AWS Nitro, repeatable', collect)
    .option('--owner-key <file>', 'Ed25519 public key of an owner instead of that of this machine, repeatable', collect)
    .option('--private-key <file>', 'that opens outputs, instead of that of this machine, repeatable', collect)
    .addOption(
      new Option('--isolation <how>', 'how renderers may have been kept in')
        .choices(['bubblewrap', 'none'])
        .default('bubblewrap'),
    )
    .option('--data <directory>', 'data directory of the stack', DEFAULT_DATA)
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(compare);
}

async function compare(file: string, other: string, options: CompareOptions): Promise<void> {
  const { outputs, otherOutputs, json } = options;
  const isForeign = options.ownerKey !== undefined && options.privateKey !== undefined;
  const owner = isForeign ? undefined : (await openIdentity(options.data)).owner;
  const policy = await receiptPolicy(options, owner);
  const own = owner ? [owner.opening] : [];
  const keys = options.privateKey ? await Promise.all(options.privateKey.map(readPrivateKeyFile)) : own;
  const render = (receipt: VerifiedReceipt, folder: string): ComparedRender => ({
    receipt,
    folder,
    privateKey: keyFor(receipt, keys),
  });

  const first = render(await verifyReceipt(await readText(file), { ...policy, outputs: 'not-checked' }), outputs);
  const isFolder = (await stat(other).catch(() => undefined))?.isDirectory() ?? false;
  if (isFolder === (otherOutputs !== undefined)) {
    throw new InputError('--other-outputs FOLDER goes with another receipt, and with nothing else');
  }
  let compared: TaskComparison[];
  if (otherOutputs === undefined) {
    compared = await compareRenders(first, { folder: other });
  } else {
    const text = await readText(other);
    const unchecked = await verifyReceipt(text, { ...policy, outputs: 'not-checked' });
    if (unchecked.statementSha384 === first.receipt.statementSha384) {
      throw new InputError('these are receipts of one and the same render: give that of another');
    }
    const second = render(unchecked, otherOutputs);
    const receipt = await verifyReceipt(text, { ...policy, outputs: second });
    compared = await compareRenders(first, { ...second, receipt });
  }
  const isSame = compared.every(({ outputs }) => outputs.every(({ result }) => result === 'same'));
  if (!isSame) process.exitCode = EXIT_NO;
  const verdict = isSame
    ? 'Both renders gave the same: every output of one is, in clear, that of the other.'
    : 'It is not shown that both renders gave the same.';
  print(json, { ok: isSame, tasks: compared }, [...compared.flatMap(words), verdict]);
}

function keyFor({ manifest }: VerifiedReceipt, keys: readonly KeyObject[]): KeyObject {
  const named = thumbprint(createPublicKey(manifest.output.ownerKey));
  const key = keys.find((candidate) => thumbprint(createPublicKey(candidate)) === named);
  if (key) return key;
  throw new InputError(`the outputs of job ${manifest.jobId} open with another key: give it with --private-key FILE`);
}

const WORDS: Readonly<Record<OutputComparison, string>> = {
  same: 'is the same in both',
  differs: 'DIFFERS',
  missing: 'is MISSING in the other',
  'only-in-other': 'is in the OTHER ONLY',
  packaged: 'cannot be compared: each render packages under content keys of its own; compare what was encoded before',
};

/** A task in plain words, a line for each output. */
function words({ id, renderer, args, outputs }: TaskComparison): string[] {
  const others = [
    ...(renderer === 'differs' ? ['another renderer'] : []),
    ...(args === 'differs' ? ['other arguments'] : []),
  ];
  const how = others.length > 0 ? ` (${others.join(', ')})` : '';
  if (outputs.length === 0) return [`Task ${id}${how} keeps what it makes for later tasks: nothing to compare.`];
  return outputs.map(({ name, result }) => `Task ${id}${how}: ${name} ${WORDS[result]}.`);
}
