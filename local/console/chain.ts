import type { RenderChain, TitleChain } from '../title-chain.ts';
import { byId, create } from './dom.ts';
import { number, quantity } from './format.ts';

/** A name and what it stands for; hashes and ids are shown whole, so that they can be compared. */
type Fact = [name: string, value: string];

/** One thing that a link made. */
interface Product {
  name: string;
  facts: Fact[];
  sentences?: string[];
}

interface Link {
  name: string;
  title: string;
  what: string;
  /** Ids of the KMS keys that it used. */
  kmsKeys: string[];
  products: Product[];
}

/** How many names stand on a closed list. */
const MOST_NAMES = 4;

const kilobytes = (bytes: number) => `${number(bytes / 1000)} kB`;

function linksOf({ title, encodings, render, failure, package: packaged }: TitleChain): Link[] {
  const isMastered = failure === undefined;
  return [
    {
      name: 'mezzanine',
      title: 'Mezzanine',
      what:
        'What post-production delivers, one file for each encoding. Here it is joined from the committed title.' +
        (render ? ' The tallest is rendered into every encoding.' : ''),
      kmsKeys: [],
      products: encodings.flatMap(({ name, mezzanine }) =>
        mezzanine ? [{ name: `${name}, ${kilobytes(mezzanine.bytes)}`, facts: [['SHA-256', mezzanine.sha256]] }] : [],
      ),
    },
    ...(render || failure?.link === 'render' ? [renderLink(render)] : []),
    {
      name: 'master',
      title: 'Encrypted master',
      what: render
        ? 'What the enclave sealed: for its owner and for the mastering key. It was accepted when its receipt was verified.'
        : 'The same under a data key that KMS made. The file in clear goes when the master is there.',
      kmsKeys: encodings.flatMap(({ master }) => master?.kmsKeyId ?? []),
      products: encodings.flatMap(({ name, master }) =>
        master
          ? [
              {
                name: `${name}, ${master.mode}, AES-${master.keyBits}, ${kilobytes(master.bytes)}`,
                facts: [
                  ['Manifest SHA-256', master.manifestSha256],
                  ['Master SHA-256', master.sha256],
                  ['Encrypted data key SHA-256', master.encryptedKeySha256],
                ],
              },
            ]
          : [],
      ),
    },
    {
      name: 'package',
      title: 'Package',
      what: packaged
        ? `HLS with ${packaged.encryption === 'none' ? 'segments in clear' : 'AES-128'} in ${packaged.container.toUpperCase()}: ` +
          `${packaged.renditions.map(({ name, segments }) => `${name} (${quantity(segments, 'segment')})`).join(', ')}. ` +
          'Keys are kept as KMS encrypted them.'
        : 'Encrypted HLS, its keys kept as KMS encrypted them.',
      kmsKeys: (packaged?.keys ?? []).map(({ kmsKeyId }) => kmsKeyId),
      products: (packaged?.keys ?? []).map(({ name, segments, encryptedKeySha256 }) => ({
        name: `key ${name}, ${quantity(segments, 'segment')}`,
        facts: [['Encrypted key SHA-256', encryptedKeySha256]],
      })),
    },
    {
      name: 'edge',
      title: 'Edge',
      what: isMastered
        ? 'Validates the token of each request for a playlist, a segment or a key, and only then answers.'
        : 'Serves the title as it was committed, in clear, behind the same tokens.',
      kmsKeys: [],
      products: [{ name: `/${title}/`, facts: [] }],
    },
  ];
}

/** The render, by its verified receipt: registers, what was proven, and the audit log that chains it. */
function renderLink(render: RenderChain | undefined): Link {
  return {
    name: 'render',
    title: 'Render in an enclave',
    what: render
      ? `${render.proven[0] ?? ''} The id of the job is burnt into the picture. The receipt was verified before anything was packaged.`
      : 'Rendered in an enclave, accepted when its receipt is verified.',
    kmsKeys: [],
    products: render
      ? [
          {
            name: `Receipt of job ${render.jobId}`,
            facts: [
              ['Receipt SHA-256', render.receiptSha256],
              ['Manifest SHA-384', render.manifestSha384],
              ['Enclave', render.moduleId],
              ['Root of attestation', `${render.root}${render.simulated ? ' (simulated)' : ''}`],
            ],
          },
          {
            name: 'Measured registers',
            facts: Object.entries(render.pcrs).map(([index, value]) => [
              `PCR${index}, ${MEASURED[index] ?? 'other'}`,
              value,
            ]),
          },
          {
            name: `Audit log of the owner, ${quantity(render.audit.length, 'line')}`,
            facts: render.audit.map(({ sequence, event, sha256 }) => [`${sequence} ${event}`, sha256]),
          },
          { name: 'What the receipt proves', facts: [], sentences: render.proven.slice(1) },
        ]
      : [],
  };
}

/** What is measured into a register here (docs/enclave.md). */
const MEASURED: Record<string, string> = { 0: 'the agent', 1: 'its configuration', 2: 'the renderer' };

/** Shows how the mastered title came from its mezzanine to the edge, and where it broke off if it did. */
export function showChain(chain: TitleChain): void {
  const { title, failure } = chain;
  const links = linksOf(chain);
  const broken = failure ? links.findIndex(({ name }) => name === failure.link) : links.length;
  const notRun = links.slice(broken + 1, -1).map((link) => link.title.toLowerCase());
  byId('chain-summary', HTMLParagraphElement).textContent = failure
    ? `The chain of ${title} broke off. The committed title is served instead.`
    : `${title} was ${chain.render ? 'rendered in an enclave, ' : ''}mastered and packaged on this machine. What plays is what came out.`;
  const notice = byId('chain-failure', HTMLParagraphElement);
  notice.hidden = failure === undefined;
  notice.textContent = failure
    ? [
        `Failed: ${failure.link}. ${failure.why}.`,
        ...(notRun.length > 0 ? [`Not run: ${notRun.join(', ')}.`] : []),
      ].join(' ')
    : '';
  byId('chain', HTMLOListElement).replaceChildren(
    ...links.map((link, index) => {
      const isLast = index === links.length - 1;
      const state = index === broken ? 'failed' : index > broken && !isLast ? 'not run' : 'done';
      return row(link, state);
    }),
  );
}

function row({ name, title, what, kmsKeys, products }: Link, state: 'done' | 'failed' | 'not run'): HTMLLIElement {
  const made = create('li', 'link');
  made.dataset.link = name;
  made.dataset.state = state;
  made.append(create('h3', '', title, ' ', create('span', 'tag', state)), create('p', '', what));
  if (state !== 'done') return made;
  const list = create('ul', 'products', ...products.map(product));
  if (products.every(({ facts, sentences }) => facts.length === 0 && sentences === undefined)) {
    made.append(list);
    return made;
  }
  // Hashes are for comparing, one link at a time: closed, all links can be seen at once.
  const evidence = create('details', 'evidence');
  evidence.append(create('summary', '', inShort(products)));
  if (kmsKeys.length > 0) evidence.append(factList([...new Set(kmsKeys)].map((id) => ['KMS key', id])));
  evidence.append(list);
  made.append(evidence);
  return made;
}

/** The names of what is there, of many the first: a long title has hundreds of keys. */
function inShort(products: Product[]): string {
  const names = products.slice(0, MOST_NAMES).map(({ name }) => name);
  if (products.length > MOST_NAMES) names.push(`${number(products.length - MOST_NAMES)} more`);
  return names.join(' · ');
}

function product({ name, facts, sentences = [] }: Product): HTMLLIElement {
  const item = create('li', '', create('strong', 'product-name', name));
  item.append(...sentences.map((sentence) => create('p', 'sentence', sentence)));
  if (facts.length > 0) item.append(factList(facts));
  return item;
}

function factList(facts: Fact[]): HTMLDListElement {
  const list = create('dl', 'chain-facts');
  for (const [term, value] of facts) list.append(create('dt', '', term), create('dd', '', create('code', '', value)));
  return list;
}
