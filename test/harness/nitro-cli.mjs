// Stands for nitro-cli on a machine without Nitro: an enclave is /init as the first process of a PID namespace, under bubblewrap, with
// the Unix sockets of an init that was built for tests in the place of vsock. Its folder is the kernel's first file system.
//   nitro-cli.mjs FOLDER run-enclave|describe-enclaves|terminate-enclave …
import { spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

const [folder, command] = process.argv.slice(2);
const { binds, heartbeat } = JSON.parse(readFileSync(join(folder, '..', 'enclave.json'), 'utf8'));
const pidFile = join(folder, '..', 'enclave.pid');
const id = 'i-0a-enc0b';

if (command === 'run-enclave') {
  for (const port of [5005, 9000]) rmSync(join(folder, `vsock-${port}`), { force: true });
  const server = createServer((socket) => {
    socket.once('data', (beat) => {
      if (beat[0] !== 0xb7) process.exit(39);
      socket.end(Buffer.from([heartbeat]));
      process.stdout.write(JSON.stringify({ EnclaveID: id, EnclaveCID: 16 }));
      server.close();
    });
  });
  server.listen(join(folder, 'vsock-9000'), () => {
    const namespaces = ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--as-pid-1'];
    const argv = [...namespaces, '--cap-add', 'ALL', '--bind', folder, '/', ...binds, '--', '/init', 'nomodules'];
    const child = spawn('bwrap', argv, {
      detached: true,
      stdio: ['ignore', 'ignore', openSync(join(folder, '..', 'log'), 'a')],
    });
    writeFileSync(pidFile, String(child.pid));
    child.unref();
  });
} else {
  const isRunning = () => {
    const pid = existsSync(pidFile) ? readFileSync(pidFile, 'utf8') : '0';
    return (
      pid !== '0' && existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    );
  };
  if (command === 'terminate-enclave' && isRunning()) process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
  if (command === 'describe-enclaves')
    process.stdout.write(JSON.stringify(isRunning() ? [{ EnclaveID: id, State: 'RUNNING' }] : []));
}
