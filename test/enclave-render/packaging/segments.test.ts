import { EncodedPacket } from 'mediabunny';
import { expect, test } from 'vitest';
import { cutSegments } from '../../../enclave-render/packaging/segments.ts';
import type { Source, VideoTrack } from '../../../enclave-render/packaging/source.ts';

test('a picture without key frames is refused before all of it is in memory', async () => {
  let read = 0;
  async function* packets() {
    for (; read < 100_000; read++)
      yield new EncodedPacket(new Uint8Array(1), read ? 'delta' : 'key', read / 25, 1 / 25);
  }
  const track = { type: 'video', codec: 'avc', packets } as unknown as VideoTrack;
  const source: Source = { name: 'one.mp4', duration: 4000, video: track, audio: [], close: () => {} };
  const cutting = async () => {
    for await (const _ of cutSegments(source, 4));
  };
  await expect(cutting()).rejects.toMatchObject({ code: 'ERR_PACKAGE_KEY_FRAMES' });
  expect(read).toBeLessThan(5 * 25);
});
