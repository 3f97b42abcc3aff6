import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentKeysFrom } from '../../enclave-render/packaging/content-keys.ts';
import { openFile } from '../../enclave-render/packaging/file-reader.ts';
import { packageTitle, type TitleRequest } from '../../enclave-render/packaging/package-title.ts';
import { packagePath } from '../../local/package-root.ts';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { portcullis } from '../harness/cli.ts';
import { temporaryDataKeys } from '../harness/data-keys.ts';
import { contentKeys, describeWithFfmpeg, makeMedia } from '../harness/media.ts';
import { describeWith, LONG } from '../harness/programs.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';
import { serveFolders, type TitleServer } from '../harness/title-server.ts';

/** Of the titles, in seconds: keys change in it, and a channel comes to its end soon. */
const SECONDS = 8;

/** What the page tells of its playback. */
interface Seen {
  time: number;
  ended: boolean;
  width: number;
  frames: number;
  /** Bytes of sound that were decoded. */
  sound: number;
  errors: string[];
}

const PAGE = `<!doctype html>
<video muted playsinline></video>
<script>
  const video = document.querySelector('video');
  const errors = [];
  window.seen = () => ({
    time: video.currentTime, ended: video.ended, width: video.videoWidth, errors,
    frames: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount,
  });
  const players = {
    'hls.js': (url) => {
      const hls = new Hls();
      window.player = hls;
      hls.on(Hls.Events.ERROR, (_, { details, fatal }) => errors.push(details + (fatal ? ' fatal' : '')));
      hls.loadSource(url);
      hls.attachMedia(video);
    },
    Shaka: async (url) => {
      shaka.polyfill.installAll();
      const player = new shaka.Player();
      window.player = player;
      await player.attach(video);
      player.addEventListener('error', ({ detail }) => errors.push('shaka ' + detail.code));
      await player.load(url);
    },
    'dash.js': (url) => {
      const player = dashjs.MediaPlayer().create();
      window.player = player;
      player.on('error', ({ error }) => errors.push('dash.js ' + error.code));
      player.initialize(video, url, true);
    },
  };
  const scripts = {
    'hls.js': '/players/hls.js/dist/hls.js',
    Shaka: '/players/shaka-player/dist/shaka-player.compiled.js',
    'dash.js': '/players/dashjs/dist/legacy/umd/dash.all.min.js',
  };
  const load = (src) => new Promise((resolve, reject) => {
    document.head.append(Object.assign(document.createElement('script'), { src, onload: resolve, onerror: reject }));
  });
  window.play = (name, url, rate) => {
    load(scripts[name]).then(() => players[name](url)).catch((error) => errors.push(String(error.code ?? error)));
    video.addEventListener('canplay', () => { video.playbackRate = rate; void video.play(); }, { once: true });
  };
</script>`;

/** `portcullis package live` as a user starts it. */
interface LiveServer {
  url: string;
  stop(): Promise<void>;
}

/** Packages a source with the command, under a keystore of its own, and serves it as a channel. */
async function serveLive(folder: string, source: string): Promise<LiveServer> {
  const data = join(folder, 'data');
  const title = join(folder, 'title');
  mkdirSync(folder);
  const packaging = [
    'package',
    'hls',
    source,
    title,
    '--segment-seconds',
    '2',
    '--part-seconds',
    '0.5',
    '--rotate-every',
    '2',
  ];
  for (const args of [['kms', 'create', '--alias', 'alias/portcullis-mastering'], packaging]) {
    const { code, stderr } = await portcullis(...args, '--data', data);
    if (code !== 0) throw new Error(stderr);
  }
  const child = spawn(process.execPath, [CLI, 'package', 'live', title, '--data', data, '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'exit');
  const [line] = await Promise.race([once(child.stdout, 'data'), ended.then(() => ['it ended'])]);
  return {
    url: JSON.parse(String(line)).url,
    async stop() {
      child.kill();
      await ended;
    },
  };
}

describeWith('chromium', 'packaged titles in a real browser', () => {
  describeWithFfmpeg('made by ffmpeg', () => {
    const scratch = temporaryDirectory();
    const dataKeys = temporaryDataKeys();
    let browser: Browser;
    let server: TitleServer;
    let live: LiveServer;
    let keysAreServed = true;

    beforeAll(async () => {
      const source = await makeMedia(join(scratch, 'source.mp4'), { seconds: SECONDS });
      const small = await makeMedia(join(scratch, 'small.mp4'), { seconds: SECONDS, size: '160x90' });
      const encryption = {
        newContentKey: contentKeysFrom(dataKeys, 'alias/test'),
        rotateEvery: 2,
        perRendition: false,
        iv: 'sequence',
      } as const;
      await pack('cmaf', [source, small], { encryption });
      await pack('random', [source], { encryption: { ...encryption, iv: 'random', perRendition: true } });
      await pack('ts', [source], { container: 'ts', encryption: { ...encryption, rotateEvery: 1 } });
      await pack('clear', [source, small], { encryption: 'none' });
      const folders = { '/players/': packagePath('node_modules'), '/titles/': join(scratch, 'titles') };
      server = await serveFolders(folders, async (path) => {
        if (path === '/') return { status: 200, type: 'text/html', body: PAGE };
        const [, title, name] = /^\/titles\/(\w+)\/keys\/([\w-]+)\.key$/.exec(path) ?? [];
        if (title === undefined || name === undefined) return undefined;
        if (!keysAreServed) return { status: 401, body: '' };
        const key = (await contentKeys(join(scratch, 'titles', title, 'keys.json'), dataKeys)).get(name);
        return key ? { status: 200, body: key } : undefined;
      });
      live = await serveLive(join(scratch, 'live'), source);
      browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
    });
    afterAll(async () => {
      await browser?.close();
      await server?.close();
      await live?.stop();
      removeDirectory(scratch);
    });

    async function pack(name: string, files: string[], changes: Partial<TitleRequest>): Promise<void> {
      mkdirSync(join(scratch, 'titles'), { recursive: true });
      const sources = await Promise.all(
        files.map(async (file) => ({ name: basename(file), reader: await openFile(file) })),
      );
      const request: TitleRequest = { container: 'cmaf', segmentSeconds: 2, encryption: 'none', ...changes };
      await packageTitle(join(scratch, 'titles', name), sources, request);
      for (const { reader } of sources) await reader.close();
    }

    async function play(
      player: string,
      path: string,
      rate = 2,
      onRequest: (url: string) => void = () => {},
    ): Promise<{ page: Page; seen: () => Promise<Seen> }> {
      const page = await browser.newPage();
      page.on('request', (request) => onRequest(request.url()));
      await page.goto(server.url);
      await page.evaluate(`window.play('${player}', '${new URL(path, server.url)}', ${rate})`);
      return { page, seen: () => page.evaluate<Seen>('window.seen()') };
    }

    const RANDOM = [
      ['CMAF with random vectors and a key a rendition', 'hls.js', '/titles/random/master.m3u8'],
      ['CMAF with random vectors and a key a rendition', 'Shaka', '/titles/random/master.m3u8'],
    ] as const;
    test.concurrent.for([
      ...(LONG ? RANDOM : []),
      ['CMAF with rotation', 'hls.js', '/titles/cmaf/master.m3u8'],
      ['TS with rotation', 'hls.js', '/titles/ts/master.m3u8'],
      ['CMAF with rotation', 'Shaka', '/titles/cmaf/master.m3u8'],
      ['clear CMAF', 'Shaka', '/titles/clear/manifest.mpd'],
      ['clear CMAF', 'dash.js', '/titles/clear/manifest.mpd'],
    ] as const)('%s plays to its end in %s: %s', { timeout: 90_000 }, async ([, player, path], { expect }) => {
      const { page, seen } = await play(player, path);
      await expect.poll(async () => (await seen()).ended, { timeout: 60_000, interval: 500 }).toBe(true);
      const { time, frames, sound, width, errors } = await seen();
      expect(errors).toEqual([]);
      expect(time).toBeGreaterThan(SECONDS - 0.1);
      expect([320, 160]).toContain(width);
      // Frames may be decoded and not shown at this rate, but not many are missing of 25 a second.
      expect(frames).toBeGreaterThan(22 * SECONDS);
      expect(sound).toBeGreaterThan(4000 * SECONDS);
      await page.close();
    });

    test.concurrent.for(['hls.js', 'Shaka'])(
      'a live channel with low-latency parts and rotating keys plays on and on in %s',
      { timeout: 150_000 },
      async (player, { expect }) => {
        const asked: string[] = [];
        const { page, seen } = await play(player, live.url, 1, (url) => asked.push(url));
        // Once round the title and over its end; a minute of it in the long tests.
        const seconds = LONG ? 60 : SECONDS + 2;
        let first: number | undefined;
        const played = async () => {
          const { time, frames } = await seen();
          if (frames > 0) first ??= time;
          return first === undefined ? 0 : time - first;
        };
        await expect.poll(played, { timeout: 2 * seconds * 1000 + 20_000, interval: 500 }).toBeGreaterThan(seconds);
        const { errors, frames, sound } = await seen();
        // What hls.js says of a machine that is busy, of a part that it gives up for a later one, and of the hole that leaves.
        const passing = ['bufferStalledError', 'bufferNudgeOnStall', 'bufferSeekOverHole', 'aborted'];
        expect(errors.filter((error) => !passing.includes(error))).toEqual([]);
        expect(frames).toBeGreaterThan(seconds * 20);
        expect(sound).toBeGreaterThan(0);
        if (player === 'hls.js') {
          expect(asked.some((url) => /_HLS_msn=\d+&_HLS_part=\d+/.test(url))).toBe(true);
          expect(asked.some((url) => /segment-\d+\.\d+\.m4s/.test(url))).toBe(true);
        }
        await page.close();
      },
    );

    test('without its key nothing is decoded', async () => {
      keysAreServed = false;
      const { page, seen } = await play('hls.js', '/titles/ts/master.m3u8');
      await expect.poll(async () => (await seen()).errors.join(), { timeout: 30_000 }).toContain('keyLoadError');
      expect(await seen()).toMatchObject({ frames: 0, sound: 0, width: 0 });
      keysAreServed = true;
      await page.close();
    });
  });
});
