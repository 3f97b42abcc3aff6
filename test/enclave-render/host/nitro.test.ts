import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { nitroLauncher } from '../../../enclave-render/host/nitro.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

// No Nitro hardware, and no vsock: programs of a few lines stand for nitro-cli and socat, so that this shows what they are asked,
// and not that they do it.
describe('a launcher of Nitro enclaves, with stand-ins for nitro-cli and socat', () => {
  const folder = temporaryDirectory();
  const asked = join(folder, 'asked');
  afterAll(() => removeDirectory(folder));

  const program = (name: string, script: string) => {
    const path = join(folder, name);
    const log = `require('node:fs').appendFileSync(${JSON.stringify(asked)}, process.argv.slice(2).join(' ') + '\\n');`;
    writeFileSync(path, `#!${process.execPath}\n${log}\n${script}\n`, { mode: 0o755 });
    return path;
  };
  const nitroCli = (started: string) =>
    program(
      'nitro-cli',
      `const [, , command] = process.argv;
       const ids = require('node:fs').readFileSync(${JSON.stringify(asked)}, 'utf8');
       if (command === 'run-enclave') console.log(${JSON.stringify(started)});
       else console.log(ids.includes('terminate-enclave') ? '[]' : '[{"EnclaveID":"i-0a-enc0b","State":"RUNNING"}]');`,
    );
  const socat = program(
    'socat',
    `const path = process.argv[2].slice('UNIX-LISTEN:'.length).split(',')[0];
     require('node:net').createServer((socket) => socket.pipe(socket)).listen(path);`,
  );
  const options = { image: '/render.eif', pcrs: { '0': 'ab'.repeat(48) }, cpus: 2, memoryMib: 4096, socat };

  test('starts one without debug mode, connects to it, and ends it', async () => {
    const cli = nitroCli('{"EnclaveID":"i-0a-enc0b","EnclaveCID":16,"ProcessID":1}');
    const enclave = await nitroLauncher({ ...options, nitroCli: cli }).launch();
    enclave.channel.write('through');
    expect(String((await once(enclave.channel, 'data'))[0])).toBe('through');
    await enclave.end();
    const lines = readFileSync(asked, 'utf8').split('\n');
    expect(lines[0]).toBe('run-enclave --eif-path /render.eif --cpu-count 2 --memory 4096');
    expect(lines[1]).toMatch(/^UNIX-LISTEN:\S+,mode=0600 VSOCK-CONNECT:16:5005,retry=100,interval=0.1$/);
    expect(lines).toContain('terminate-enclave --enclave-id i-0a-enc0b');
    expect(lines.join()).not.toContain('debug');
  });

  test('says so when one cannot be ended, and not when it has ended by itself', async () => {
    const started = '{"EnclaveID":"i-0a-enc0b","EnclaveCID":16,"ProcessID":1}';
    const failing = (running: string) =>
      program(
        'nitro-cli-failing',
        `const [, , command] = process.argv;
         if (command === 'terminate-enclave') process.exit(1);
         console.log(command === 'run-enclave' ? ${JSON.stringify(started)} : ${JSON.stringify(running)});`,
      );
    const stubborn = failing('[{"EnclaveID":"i-0a-enc0b","State":"RUNNING"}]');
    const enclave = await nitroLauncher({ ...options, nitroCli: stubborn }).launch();
    await expect(enclave.end()).rejects.toMatchObject({
      code: 'ERR_HOST_ENDING',
      message: expect.stringContaining('terminate-enclave --enclave-id i-0a-enc0b'),
    });
    enclave.channel.destroy();
    const gone = await nitroLauncher({ ...options, nitroCli: failing('[]') }).launch();
    await gone.end();
    gone.channel.destroy();
  });

  test.each(['', '{}', '{"EnclaveID":"; rm","EnclaveCID":16}', '{"EnclaveID":"i-0a-enc0b","EnclaveCID":3}'])(
    'refuses an answer that is none: %s',
    async (started) => {
      const launched = nitroLauncher({ ...options, nitroCli: nitroCli(started) }).launch();
      await expect(launched).rejects.toMatchObject({ code: 'ERR_HOST_LAUNCH' });
    },
  );

  test.each([
    ['is cut off', '{"EnclaveName":"render","EnclaveID":"i-0a-enc0b","Encl', 0],
    ['lacks its address', '{"EnclaveID":"i-0a-enc0b"}', 0],
    ['comes with a failure', '{"EnclaveID":"i-0a-enc0b","EnclaveCID":16}', 1],
  ])('ends the enclave of an answer that %s', async (_, started, code) => {
    writeFileSync(asked, '');
    const failing = program(
      'nitro-cli-odd',
      `if (process.argv[2] === 'run-enclave') { console.log(${JSON.stringify(started)}); process.exitCode = ${code}; }`,
    );
    const launched = nitroLauncher({ ...options, nitroCli: failing }).launch();
    await expect(launched).rejects.toMatchObject({ code: 'ERR_HOST_LAUNCH' });
    expect(readFileSync(asked, 'utf8')).toContain('terminate-enclave --enclave-id i-0a-enc0b\n');
  });
});
