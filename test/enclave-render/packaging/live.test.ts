import { expect, test } from 'vitest';
import { type LiveChannel, liveChannel } from '../../../enclave-render/packaging/live.ts';
import type { PackagedTitle, Rendition } from '../../../enclave-render/packaging/title.ts';

/** Three segments of 4, 4 and 2 seconds, in parts of a second. */
function rendition(name: string, type: 'video' | 'audio'): Rendition {
  const segments = [4, 4, 2].map((seconds, index) => ({
    file: `segment-0000${index + 1}.m4s`,
    start: 4 * index,
    seconds,
    bytes: 1000,
    encryption: { key: `k-${index < 2 ? 1 : 2}`, iv: `${index}`.padStart(32, '0') },
    parts: Array.from({ length: seconds }, (_, part) => ({
      file: `segment-0000${index + 1}.${part + 1}.m4s`,
      seconds: 1,
      isIndependent: part === 0,
    })),
  }));
  const rates = { bandwidth: 1, averageBandwidth: 1 };
  return { name, type, codecs: ['avc1.64001e'], ...rates, init: 'init.mp4', isIndependent: true, segments };
}

const TITLE: PackagedTitle = {
  format: 'portcullis-packaging/1',
  container: 'cmaf',
  encryption: 'aes-128',
  iv: 'sequence',
  targetDuration: 4,
  partTarget: 1,
  duration: 10,
  renditions: [rendition('360p', 'video'), rendition('audio', 'audio')],
  notes: [],
};

const NOON = Date.UTC(2026, 10, 22, 12) / 1000;

/** A channel with a clock that stands still but for what is waited for. */
function channelAt(seconds: number, title = TITLE, windowSegments = 3) {
  let now = NOON + seconds;
  const waited: number[] = [];
  const clock = {
    now: () => now,
    async wait(duration: number) {
      waited.push(Math.round(duration * 1000) / 1000);
      now += duration;
    },
  };
  const channel = liveChannel(title, { folder: '/titles/t', clock, startedAt: NOON, windowSegments });
  return { channel, waited };
}

async function playlist(channel: LiveChannel, query = '', path = '360p/index.m3u8'): Promise<string[]> {
  const answer = await channel(path, new URLSearchParams(query));
  return 'text' in answer ? answer.text.split('\n').filter((line) => line !== '') : [];
}

test('a window of the title is there from the beginning, and the part that comes is hinted at', async () => {
  const { channel } = channelAt(0.5);
  expect(await playlist(channel)).toEqual([
    '#EXTM3U',
    '#EXT-X-VERSION:9',
    '#EXT-X-TARGETDURATION:4',
    '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=12,PART-HOLD-BACK=3',
    '#EXT-X-PART-INF:PART-TARGET=1',
    '#EXT-X-MEDIA-SEQUENCE:0',
    '#EXT-X-DISCONTINUITY-SEQUENCE:0',
    '#EXT-X-INDEPENDENT-SEGMENTS',
    '#EXT-X-MAP:URI="init.mp4"',
    '#EXT-X-PROGRAM-DATE-TIME:2026-11-22T11:59:50.000Z',
    '#EXT-X-KEY:METHOD=AES-128,URI="../keys/k-1.key",IV=0x00000000000000000000000000000000',
    ...[1, 2, 3, 4].map(
      (n) => `#EXT-X-PART:DURATION=1,URI="segment-00001.${n}.m4s"${n === 1 ? ',INDEPENDENT=YES' : ''}`,
    ),
    '#EXTINF:4,',
    'segment-00001.m4s',
    '#EXT-X-KEY:METHOD=AES-128,URI="../keys/k-1.key",IV=0x00000000000000000000000000000001',
    ...[1, 2, 3, 4].map(
      (n) => `#EXT-X-PART:DURATION=1,URI="segment-00002.${n}.m4s"${n === 1 ? ',INDEPENDENT=YES' : ''}`,
    ),
    '#EXTINF:4,',
    'segment-00002.m4s',
    '#EXT-X-KEY:METHOD=AES-128,URI="../keys/k-2.key",IV=0x00000000000000000000000000000002',
    ...[1, 2].map((n) => `#EXT-X-PART:DURATION=1,URI="segment-00003.${n}.m4s"${n === 1 ? ',INDEPENDENT=YES' : ''}`),
    '#EXTINF:2,',
    'segment-00003.m4s',
    '#EXT-X-DISCONTINUITY',
    '#EXT-X-KEY:METHOD=AES-128,URI="../keys/k-1.key",IV=0x00000000000000000000000000000000',
    '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="segment-00001.1.m4s"',
    '#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=2,LAST-PART=1',
  ]);
});

test('it slides: sequences go on, discontinuities are counted when they leave the window', async () => {
  const of = async (seconds: number) => {
    const lines = await playlist(channelAt(seconds).channel);
    const value = (tag: string) => Number(lines.find((line) => line.startsWith(`#${tag}:`))?.split(':')[1]);
    return [
      value('EXT-X-MEDIA-SEQUENCE'),
      value('EXT-X-DISCONTINUITY-SEQUENCE'),
      lines.filter((line) => line === '#EXT-X-DISCONTINUITY').length,
      lines.filter((line) => !line.startsWith('#')).length,
    ];
  };
  expect(await of(0)).toEqual([0, 0, 1, 3]);
  expect(await of(4)).toEqual([1, 0, 1, 3]);
  expect(await of(10)).toEqual([3, 0, 2, 3]);
  expect(await of(14)).toEqual([4, 1, 1, 3]);
  expect(await of(1e9)).toEqual([3e8, 1e8 - 1, 2, 3]);
});

test('a reload that asks for more waits until just then', async () => {
  const wait = async (seconds: number, query: string, path?: string) => {
    const { channel, waited } = channelAt(seconds);
    return { lines: await playlist(channel, query, path), waited };
  };
  expect((await wait(0.25, '')).waited).toEqual([]);
  expect((await wait(0.25, '_HLS_msn=2')).waited).toEqual([]);
  const part = await wait(0.25, '_HLS_msn=3&_HLS_part=0');
  expect(part.waited).toEqual([0.75]);
  expect(part.lines).toContain('#EXT-X-PRELOAD-HINT:TYPE=PART,URI="segment-00001.2.m4s"');
  expect((await wait(0.25, '_HLS_msn=3&_HLS_part=2', 'audio/index.m3u8')).waited).toEqual([2.75]);
  expect((await wait(0.25, '_HLS_msn=3')).waited).toEqual([3.75]);
  // A part after the last is the first of the next segment.
  expect((await wait(0.25, '_HLS_msn=3&_HLS_part=4')).waited).toEqual([4.75]);
});

test('a part that is hinted at is answered when it is there, and others at once', async () => {
  const { channel, waited } = channelAt(0.25);
  expect(await channel('360p/segment-00001.1.m4s', new URLSearchParams())).toMatchObject({
    status: 200,
    file: '/titles/t/360p/segment-00001.1.m4s',
  });
  expect(waited).toEqual([0.75]);
  for (const file of ['360p/segment-00003.2.m4s', '360p/segment-00001.m4s', 'audio/init.mp4']) {
    expect(await channel(file, new URLSearchParams())).toMatchObject({ status: 200 });
  }
  expect(waited).toEqual([0.75]);
});

test('where sound ends before its picture, the part that is hinted at is under the key of its own segment', async () => {
  const [video, audio] = TITLE.renditions as [Rendition, Rendition];
  const segments = audio.segments.map(({ parts = [], ...segment }) => ({
    ...segment,
    seconds: segment.seconds - 0.02,
    parts: parts.map((part, index) => (index === parts.length - 1 ? { ...part, seconds: 0.98 } : part)),
  }));
  // The window has segments 0 to 2; the next are again the first two, of 4 s with the key k-1, and the third with k-2.
  const { channel, waited } = channelAt(4.5, { ...TITLE, renditions: [video, { ...audio, segments }] });
  const lines = await playlist(channel, '_HLS_msn=4&_HLS_part=3', 'audio/index.m3u8');
  expect(waited).toEqual([3.48]);
  expect(lines.slice(-5, -1)).toEqual([
    '#EXTINF:3.98,',
    'segment-00002.m4s',
    '#EXT-X-KEY:METHOD=AES-128,URI="../keys/k-2.key",IV=0x00000000000000000000000000000002',
    '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="segment-00003.1.m4s"',
  ]);
});

test.each([
  ['_HLS_msn=x', 400],
  ['_HLS_part=1', 400],
  ['_HLS_msn=6', 400],
  ['_HLS_msn=-1', 400],
  ['_HLS_msn=3&_HLS_part=1e9', 400],
])('a reload with %s is refused', async (query, status) => {
  expect((await channelAt(0).channel('360p/index.m3u8', new URLSearchParams(query))).status).toBe(status);
});

test.each([
  'keys.json',
  'packaging.json',
  'keys/k-1.key',
  '../secret',
  '360p/../keys.json',
  '360p/keys.json',
  '720p/index.m3u8',
  '360p/segment-00009.m4s',
  '360p//etc/passwd',
  '__proto__/index.m3u8',
])('it has no %s', async (path) => {
  expect((await channelAt(0).channel(path, new URLSearchParams())).status).toBe(404);
});

test('a title without parts is a channel with blocking reload of segments', async () => {
  const renditions = TITLE.renditions.map((each) => ({
    ...each,
    segments: each.segments.map(({ parts: _, ...segment }) => segment),
  }));
  const { partTarget: _, ...title } = TITLE;
  const { channel, waited } = channelAt(1, { ...title, renditions });
  const lines = await playlist(channel, '_HLS_msn=3');
  expect(waited).toEqual([3]);
  expect(lines.join()).not.toMatch(/EXT-X-PART|PRELOAD|REPORT/);
  expect(lines.filter((line) => !line.startsWith('#'))).toHaveLength(3);
});

test('what cannot be a channel is refused', () => {
  const [video, audio] = TITLE.renditions as [Rendition, Rendition];
  const shorter = { ...audio, segments: audio.segments.slice(1) };
  for (const title of [
    { ...TITLE, container: 'ts' as const },
    { ...TITLE, renditions: [video, shorter] },
  ]) {
    expect(() => channelAt(0, title)).toThrow(expect.objectContaining({ code: 'ERR_PACKAGE_TITLE' }));
  }
});
