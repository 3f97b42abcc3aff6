// The built command in a process that stays: each message is one call of it, and is answered with how that one ended. Loading
// its modules costs most of what a short command costs; here they are loaded once.
import { Console } from 'node:console';
import { Readable, Writable } from 'node:stream';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const [command] = process.argv.splice(2);
let calls = 0;

/** What takes the place of a standard stream for one call; `text()` is what was written to it. */
function collected() {
  const chunks = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString() };
}

process.on('message', async ({ args, input, env, cwd }) => {
  const [stdout, stderr] = [collected(), collected()];
  const streams = { stdin: Readable.from(input === '' ? [] : [input]), stdout: stdout.stream, stderr: stderr.stream };
  for (const [name, value] of Object.entries(streams)) {
    Object.defineProperty(process, name, { configurable: true, value });
  }
  for (const name of Object.keys(process.env)) if (!Object.hasOwn(env, name)) delete process.env[name];
  Object.assign(process.env, env);
  if (process.cwd() !== cwd) process.chdir(cwd);
  // Both keep the streams of the first call.
  globalThis.console = new Console(streams);
  const warn = (warning) => stderr.stream.write(`${warning.stack}\n`);
  process.on('warning', warn);
  process.argv.splice(2, Infinity, ...args);
  process.exitCode = 0;
  // By another URL it is evaluated again; what it imports is not.
  await import(`${command}?${++calls}`);
  await new Promise(setImmediate);
  process.off('warning', warn);
  for (const signal of SIGNALS) process.removeAllListeners(signal);
  process.send({ code: process.exitCode, stdout: stdout.text(), stderr: stderr.text() });
});
// Whoever asked is gone.
process.once('disconnect', () => process.exit());
