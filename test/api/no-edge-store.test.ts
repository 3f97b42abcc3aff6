import { expect, test } from 'vitest';
import { unenforcedByRuleGroup, withoutProbe } from '../../api/no-edge-store.ts';
import { createKeyRing } from '../../token-api/key-ring/key-ring.ts';

test('with embedded keys an asset or a cut-off that is revoked is said to be enforced nowhere', async () => {
  for (const kind of ['session', 'subject'] as const)
    expect(await unenforcedByRuleGroup({ kind, id: 'x' })).toEqual([]);
  for (const kind of ['asset', 'sessions-before'] as const) {
    expect(await unenforcedByRuleGroup({ kind, id: 'x' })).toEqual([{ prefix: '/', mode: 'off' }]);
  }
});

test('without an address of the edge a rotation is left to Secrets Manager before it began, and a key is dropped all the same', async () => {
  const ring = createKeyRing(0);
  const dropped: string[] = [];
  const rotation = withoutProbe({
    dropKey: async (kid, run) => {
      dropped.push(kid, run);
      return { ring, mintingResumesAt: null };
    },
  });
  await expect(rotation.rotate('run')).rejects.toMatchObject({
    code: 'ERR_ROTATION_ELSEWHERE',
    message: expect.stringContaining('aws secretsmanager rotate-secret'),
  });
  expect(await rotation.dropKey('k1', 'run')).toEqual({ ring, mintingResumesAt: null });
  expect(dropped).toEqual(['k1', 'run']);
});
