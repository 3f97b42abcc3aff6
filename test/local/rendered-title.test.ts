import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { encryptMaster } from '../../enclave-render/mastering/encrypt.ts';
import { renderedMasters, renderTitle } from '../../local/rendered-title.ts';
import { describeWithFfmpeg, ffmpeg } from '../harness/media.ts';
import { testShop } from '../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

describeWithFfmpeg('the title of the stack, at the next start', () => {
  const folder = temporaryDirectory();
  afterAll(() => removeDirectory(folder));

  test('is the one of its receipt, or is rendered again', async () => {
    const shop = await testShop(folder);
    const source = join(folder, 'source.mp4');
    await ffmpeg('-f', 'lavfi', '-i', 'testsrc2=d=0.2:s=160x90:r=25', source);
    const sourceSha256 = createHash('sha256').update(readFileSync(source)).digest('hex');
    const output = join(folder, 'rendered');
    const start = () => renderTitle({ title: 'film', shop, source, sourceSha256, output, report: () => undefined });
    const first = await start();
    expect(first.isNew).toBe(true);
    const { isNew, chain } = await start();
    expect(isNew).toBe(false);
    expect(chain).toEqual(first.chain);

    // A master that the keys of the stack open, and that no enclave made: whoever may write to the folder can make one.
    const [{ path = '' } = {}] = renderedMasters(output);
    const { dataKeys, keyId } = shop.mastering ?? expect.fail('no mastering key');
    const kms = { dataKeys, keyId, context: { service: 'portcullis', purpose: 'master' } };
    await encryptMaster({ source, output: path, mode: 'framed', kms, now: 1, force: true });
    const again = await start();
    expect(again.isNew).toBe(true);
    expect(again.chain.jobId).not.toBe(first.chain.jobId);
  });
});
