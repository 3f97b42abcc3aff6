import type { Command } from 'commander';
import { apiCommand, type CallOptions, callApi, callList, type StackAccess } from './api.ts';
import { alignColumns, EXIT_NO, InputError, note, print, readJson } from './command.ts';

interface Asset {
  id: string;
  title: string;
  path: string;
  policy: string;
}

interface PutOptions extends StackAccess {
  path: string;
  title?: string;
  policy?: string;
  policyId?: string;
}

const PUT_EXAMPLES = `portcullis asset put aurora --path /aurora/master.m3u8 --title Aurora --policy policy.json
  portcullis asset put harbour --path /harbour/master.m3u8 --policy-id vod-2h
  portcullis asset put aurora --path /aurora/v2/master.m3u8     keeps title and policy

A policy that several assets share leaves out "paths" and "asset": it opens the directory of each. docs/api.md has more.`;

export function registerAsset(program: Command): void {
  const asset = program.command('asset').description('the asset catalogue of a running stack');
  const add = (name: string, description: string, example: string) => apiCommand(asset, name, description, example);

  add('put', 'add an asset, or replace it', PUT_EXAMPLES)
    .argument('<asset-id>', '1–128 letters, digits, _, - or .; claim aid of its tokens')
    .requiredOption('--path <path>', 'path of its manifest at the edge; required')
    .option('--title <text>', 'title for people; by default what it was, or the id')
    .option('--policy <file>', 'policy (JSON) to store for it, under --policy-id or else the id of the asset')
    .option('--policy-id <id>', 'policy to mint its tokens with; by default what it was')
    .action(async (id: string, options: PutOptions) => {
      const known = await existing(options, id);
      const policy = options.policyId ?? (options.policy === undefined ? known?.policy : id);
      if (policy === undefined) throw new InputError('an asset needs a policy: give --policy or --policy-id');
      if (options.policy !== undefined) {
        const stored = await callApi(options, 'PUT', policyPath(policy), await readJson(options.policy), BACKEND);
        if (stored.status === 200 && policy !== id)
          note(`policy ${policy} was replaced, for every asset that refers to it`);
      }
      const { path, title = known?.title ?? id } = options;
      const { status, body } = await callApi(options, 'PUT', assetPath(id), { path, title, policy }, BACKEND);
      print(options.json, body, [`${status === 201 ? 'added' : 'replaced'} ${id}`]);
    });

  add('list', 'list the assets', 'portcullis asset list').action(async (options: StackAccess) => {
    const assets = (await callList(options, '/v1/assets', 'assets', { role: 'backend' })) as Asset[];
    const rows = assets.map(({ id, title, path, policy }) => [id, title, path, policy]);
    const lines = alignColumns([['asset', 'title', 'path', 'policy'], ...rows]);
    print(options.json, { assets }, rows.length > 0 ? lines : ['no assets']);
  });

  add('rm', 'take an asset out; exit 1 when there is none', 'portcullis asset rm aurora')
    .argument('<asset-id>')
    .action(async (id: string, options: StackAccess) => {
      const { status } = await callApi(options, 'DELETE', assetPath(id), undefined, BACKEND_OR_UNKNOWN);
      const removed = status === 204;
      print(options.json, { id, removed }, [removed ? `removed ${id}` : `there is no asset ${id}`]);
      if (!removed) process.exitCode = EXIT_NO;
    });
}

const BACKEND: CallOptions = { role: 'backend' };
const BACKEND_OR_UNKNOWN: CallOptions = { role: 'backend', answers: ['ERR_ASSET_UNKNOWN'] };

/** An asset as it is in the catalogue; undefined when it is not. */
async function existing(options: StackAccess, id: string): Promise<Asset | undefined> {
  const { status, body } = await callApi(options, 'GET', assetPath(id), undefined, BACKEND_OR_UNKNOWN);
  return status === 200 ? (body as unknown as Asset) : undefined;
}

/** Says that an asset is not in the catalogue, which may be a slip: what is done to it does little. */
export async function noteUnknownAsset(options: StackAccess, id: string): Promise<void> {
  // Tokens that were minted elsewhere may name an asset in ways that the catalogue does not take.
  const answers = ['ERR_ASSET_UNKNOWN', 'ERR_ID_INVALID'];
  if ((await callApi(options, 'GET', assetPath(id), undefined, { answers })).status === 200) return;
  const advice = 'this stops only tokens that were minted elsewhere for it, or before it was taken out';
  note(`no asset in the catalogue is called '${id}': ${advice}`);
}

function assetPath(id: string): string {
  return `/v1/assets/${encodeURIComponent(id)}`;
}

function policyPath(id: string): string {
  return `/v1/policies/${encodeURIComponent(id)}`;
}
