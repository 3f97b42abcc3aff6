import { readFileSync } from 'node:fs';
import { parse } from 'acorn';
import { expect, test } from 'vitest';
import { packagePath } from '../../../local/package-root.ts';
import { renewingLoader } from '../../../token-api/player/hls.ts';
import { createRenewal } from '../../../token-api/player/renewal.ts';
import { SimulatedPlayback } from '../../harness/simulated-playback.ts';

const TEXT = readFileSync(packagePath('docs', 'player.md'), 'utf8');
const BLOCKS = [...TEXT.matchAll(/```js\n(.*?)```/gs)].map(([, code = '']) => code);

test('the examples for other players are JavaScript, and use what a renewal has', () => {
  expect(BLOCKS).toHaveLength(5);
  const playbackUrl = new SimulatedPlayback({ lifetime: 3600 }).mint();
  const renewal = createRenewal({ playbackUrl, renew: () => Promise.reject() });
  renewal.stop();
  for (const code of BLOCKS) {
    parse(code, { ecmaVersion: 2022, sourceType: 'module', allowAwaitOutsideFunction: true });
    for (const [, member = ''] of code.matchAll(/\brenewal\??\.(\w+)/g)) expect(renewal).toHaveProperty(member);
    const imported = /import \{ (.+) \} from 'portcullis\/player'/.exec(code)?.[1]?.split(', ') ?? [];
    for (const name of imported) expect({ createRenewal, renewingLoader }).toHaveProperty(name);
  }
});

test('the size in the text is that of the file', () => {
  const bytes = readFileSync(packagePath('dist', 'player', 'renewal.js')).length;
  expect(TEXT).toContain(`${bytes.toLocaleString('en')} bytes`);
});
