import { verify, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Server } from 'node:net';
import { encode } from 'cborg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectNsm, type NsmConnection, openNsm } from '../../enclave-render/security-module/nsm.ts';
import { simulatedModule } from '../../enclave-render/security-module/simulator.ts';
import { openSimulatorCa, type SimulatorCa } from '../../enclave-render/security-module/simulator-ca.ts';
import { packagePath } from '../../local/package-root.ts';
import { describeWith } from '../harness/programs.ts';
import { decodeDocument, shimmedHelper, socketPair, unixServer } from '../harness/security-module.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const NOW = Date.parse('2026-11-22T12:00:00.250Z');
const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

let ca: SimulatorCa;
beforeAll(async () => {
  ca = await openSimulatorCa(`${scratch}/ca`, NOW);
});

const PCRS = { 0: 'a0'.repeat(48), 1: 'b1'.repeat(48), 2: 'c2'.repeat(48) };
const simulated = () => simulatedModule({ ca, pcrs: PCRS, now: () => NOW });

/**
 * What every security module does, whatever is behind it; `open` connects to one of another launch each time, if it
 * can.
 */
function contract(open: () => Promise<NsmConnection>): void {
  let module: NsmConnection;
  beforeAll(async () => {
    module = await open();
  });
  afterAll(() => module.close());

  test('describes itself: 32 registers, of which the first 16 are locked', async () => {
    const { moduleId, pcrs, lockedPcrs } = await module.describe();
    expect(moduleId).toMatch(/^i-[0-9a-f]{17}-enc[0-9a-f]{16}$/);
    expect(Object.keys(pcrs)).toEqual(Array.from({ length: 32 }, (_, i) => `${i}`));
    for (const value of Object.values(pcrs)) expect(value).toMatch(/^[0-9a-f]{96}$/);
    expect(lockedPcrs).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(await module.describe()).toEqual({ moduleId, pcrs, lockedPcrs });
  });

  test('a document has the registers and what was asked for, and is signed by its leaf', async () => {
    const request = { userData: Buffer.from('user data'), nonce: Buffer.alloc(32, 7), publicKey: Buffer.alloc(294, 9) };
    const document = decodeDocument(await module.attest(request));
    const { moduleId, pcrs } = await module.describe();
    const bytes = (name: string) => Buffer.from(document.fields.get(name) as Uint8Array);
    expect(document.fields.get('module_id')).toBe(moduleId);
    expect(document.fields.get('digest')).toBe('SHA384');
    expect([bytes('user_data'), bytes('nonce'), bytes('public_key')]).toEqual(Object.values(request));
    for (const [index, value] of document.pcrs) expect(Buffer.from(value).toString('hex')).toBe(pcrs[index]);
    expect([...document.pcrs.keys()].slice(0, 16)).toEqual(Array.from({ length: 16 }, (_, i) => i));

    expect(Buffer.from(document.protectedHeader).toString('hex')).toBe('a1013822');
    expect([document.unprotectedHeader.size, document.signature.length]).toEqual([0, 96]);
    const chain = document.certificates.map((der) => new X509Certificate(der));
    for (const [i, certificate] of chain.entries()) {
      const issuer = chain[Math.max(0, i - 1)] as X509Certificate;
      expect([certificate.checkIssued(issuer), certificate.verify(issuer.publicKey)]).toEqual([true, true]);
    }
    const { publicKey } = chain.at(-1) as X509Certificate;
    const signed = encode(['Signature1', document.protectedHeader, new Uint8Array(), document.payload]);
    expect(verify('sha384', signed, { key: publicKey, dsaEncoding: 'ieee-p1363' }, document.signature)).toBe(true);
  });

  test('what is not asked for is null', async () => {
    const { fields } = decodeDocument(await module.attest({}));
    expect([fields.get('user_data'), fields.get('nonce'), fields.get('public_key')]).toEqual([null, null, null]);
  });

  test('takes as much as a document may have, and refuses more', async () => {
    const most = { userData: Buffer.alloc(512), nonce: Buffer.alloc(512), publicKey: Buffer.alloc(1024) };
    expect((await module.attest(most)).length).toBeLessThan(12 << 10);
    for (const [field, value] of Object.entries(most)) {
      const request = { ...most, [field]: Buffer.concat([value, Buffer.alloc(1)]) };
      await expect(module.attest(request), field).rejects.toMatchObject({ code: 'ERR_MODULE_REFUSED' });
    }
  });

  test('random bytes are at most 256, and others each time', async () => {
    const [first, second] = await Promise.all([module.random(), module.random()]);
    for (const each of [first, second]) {
      expect(each.length).toBeGreaterThanOrEqual(16);
      expect(each.length).toBeLessThanOrEqual(256);
    }
    expect(Buffer.compare(first, second)).not.toBe(0);
  });

  test('whoever asks at once gets the answer to his own request', async () => {
    const nonces = Array.from({ length: 20 }, (_, i) => Buffer.alloc(32, i));
    const documents = await Promise.all(nonces.map((nonce) => module.attest({ nonce })));
    expect(documents.map((each) => Buffer.from(decodeDocument(each).fields.get('nonce') as Uint8Array))).toEqual(
      nonces,
    );
  });

  test('answers nobody once it is closed', async () => {
    const closed = await open();
    closed.close();
    await expect(closed.random()).rejects.toMatchObject({ code: 'ERR_MODULE_ABSENT' });
    await expect(closed.describe()).rejects.toMatchObject({ code: 'ERR_MODULE_ABSENT' });
  });
}

describe('the simulated module on a socket', () => {
  contract(async () => {
    const [near, far] = await socketPair(scratch);
    simulated().serve(far);
    return connectNsm(near);
  });
});

describeWith('gcc', 'the helper, with a simulated module for its device', () => {
  let servers: Server[] = [];
  let start: (environment: Record<string, string>) => string;
  beforeAll(() => {
    start = shimmedHelper(scratch);
  });
  afterAll(() => {
    for (const server of servers) server.close();
    servers = [];
  });
  const device = async () => {
    const { path, server } = await unixServer(scratch, (socket) => simulated().serve(socket));
    servers.push(server);
    return { NSM_SHIM_SOCKET: path };
  };

  contract(async () => openNsm(start(await device())));

  test('what the device refuses is refused', async () => {
    for (const [errno, name] of [
      [90, 'InputTooLarge'],
      [5, 'InternalError'],
    ] as const) {
      const module = openNsm(start({ ...(await device()), NSM_SHIM_ERRNO: `${errno}` }));
      await expect(module.random()).rejects.toMatchObject({
        code: 'ERR_MODULE_REFUSED',
        message: expect.stringContaining(name),
      });
      module.close();
    }
  });

  test('without a device there is no module', async () => {
    const module = openNsm(start({ NSM_SHIM_SOCKET: `${scratch}/none` }));
    await expect(module.describe()).rejects.toMatchObject({ code: 'ERR_MODULE_ABSENT' });
    await expect(module.random()).rejects.toMatchObject({ code: 'ERR_MODULE_ABSENT' });
  });
});

test('without the helper there is no module', async () => {
  const module = openNsm(`${scratch}/no-helper`);
  await expect(module.random()).rejects.toMatchObject({ code: 'ERR_MODULE_ABSENT' });
});

const HELPER = packagePath('dist', 'enclave', 'nsm-helper');
if (existsSync('/dev/nsm') && existsSync(HELPER)) {
  describe('the Nitro security module', () => contract(async () => openNsm(HELPER)));
} else {
  test.skip('the Nitro security module (no /dev/nsm here, or dist/enclave/nsm-helper is not built)', () => undefined);
}
