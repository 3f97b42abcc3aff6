import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, expect, test, vi } from 'vitest';
import { remux } from '../../../../enclave-render/mastering/jobs/remux.ts';
import { describeWithFfmpeg, makeMedia } from '../../../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../../../harness/stack.ts';

describeWithFfmpeg('media is put into another container', () => {
  const scratch = temporaryDirectory();
  afterAll(() => removeDirectory(scratch));

  test('by an ffmpeg that gets nothing of our environment', async () => {
    const source = await makeMedia(join(scratch, 'source.mp4'), { seconds: 1, more: ['-movflags', '+faststart'] });
    const report = join(scratch, 'report.log');
    vi.stubEnv('FFREPORT', `file=${report}`);
    try {
      expect((await buffer(remux(createReadStream(source), 'ts')))[0]).toBe(0x47);
    } finally {
      vi.unstubAllEnvs();
    }
    expect(existsSync(report)).toBe(false);
  });
});
