import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openFile } from '../../../enclave-render/packaging/file-reader.ts';
import { TransportStream } from '../../../enclave-render/packaging/mpeg-ts.ts';
import { SegmentBuffer } from '../../../enclave-render/packaging/segment-buffer.ts';
import { openMediaSource } from '../../../enclave-render/packaging/source.ts';
import { describeWithFfmpeg, makeMedia, probe } from '../../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

describeWithFfmpeg('a transport stream', () => {
  const scratch = temporaryDirectory();
  afterAll(() => removeDirectory(scratch));

  /** Two seconds of pictures with so many B-frames between others. */
  async function pictures(reordered: number) {
    const video = ['libx264', '-preset', 'veryfast', '-bf', `${reordered}`, '-pix_fmt', 'yuv420p'];
    const file = join(scratch, `b${reordered}.mp4`);
    const reader = await openFile(await makeMedia(file, { seconds: 2, video, audio: 'none' }));
    const source = await openMediaSource(reader, file, 'ts');
    if (!source.video) throw new Error('no picture');
    const packets = [];
    for await (const packet of source.video.packets()) packets.push(packet);
    source.close();
    await reader.close();
    return { track: source.video, packets };
  }

  test('has times that go on where later pictures are more out of order', async () => {
    const [plain, reordered] = [await pictures(0), await pictures(3)];
    const later = reordered.packets.map((packet) => packet.clone({ timestamp: packet.timestamp + 2 }));
    const [stream, buffer] = [new TransportStream(), new SegmentBuffer()];
    stream.write([plain], buffer);
    stream.write([{ track: plain.track, packets: later }], buffer);
    const file = join(scratch, 'out.ts');
    writeFileSync(file, buffer.view());
    const { packets = [] } = await probe(file, 'packet=pts,dts');
    const decoded = packets.map(({ dts }) => Number(dts));
    expect(decoded).toHaveLength(100);
    expect(decoded.filter((dts, index) => dts <= (decoded[index - 1] ?? -1))).toEqual([]);
    expect(packets.filter(({ pts, dts }) => Number(pts) < Number(dts))).toEqual([]);
  });
});
