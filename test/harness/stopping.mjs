// Loaded into a command by `node --import`: names every step that the command takes, an event that it tells or a call that changes the
// disk, and at one of them ends it, ends its enclave, fills its disk or takes its KMS away. Told what to do by PORTCULLIS_STOP, JSON:
// {world, steps?, at?, how?}; see `stopped-render.ts`.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const { world, steps, at, how } = JSON.parse(process.env.PORTCULLIS_STOP ?? '{}');
const { appendFileSync, readdirSync, readFileSync, renameSync, writeSync, openSync, closeSync } = fs;

/** All processes below this one, the deepest last. */
function descendants(pid = process.pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  });
  return children.flatMap((child) => {
    try {
      return [child, ...descendants(child)];
    } catch {
      return [];
    }
  });
}

const STOPS = {
  parent: () => process.kill(process.pid, 'SIGKILL'),
  enclave() {
    for (const pid of descendants()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It went with the one above it.
      }
    }
  },
  all() {
    STOPS.enclave();
    STOPS.parent();
  },
  disk() {
    const filler = openSync(`${world}/filler`, 'w');
    // In ever smaller pieces, to the last byte.
    for (let bytes = 1 << 20; bytes >= 1; bytes = Math.floor(bytes / 16)) {
      try {
        while (writeSync(filler, Buffer.alloc(bytes)) === bytes);
      } catch {
        // Full.
      }
    }
    closeSync(filler);
  },
  kms() {
    const keystore = `${world}/data/kms/keystore.json`;
    if (fs.existsSync(keystore)) renameSync(keystore, `${keystore}.away`);
  },
};

const seen = new Map();
let isStopping = false;

function step(name) {
  if (isStopping) return;
  // Without what is another number each time.
  const plain = name
    .replaceAll(world, '')
    // Machine, namespace, process, its start, and what makes it one of many (enclave-render/process-lock.ts).
    .replace(/[0-9a-f]{32}(?:\.\d+){3}(?:\.[0-9a-f]{12})?/g, 'OWNER')
    .replace(/\.\d+(\.[0-9a-f]+)?$/, '.N')
    .replace(/partial\/[0-9a-f]+/, 'partial/N')
    .replace(/submitting\/[^/ ]+/, 'submitting/N');
  const count = (seen.get(plain) ?? 0) + 1;
  seen.set(plain, count);
  const label = `${plain} (${count})`;
  if (steps) appendFileSync(steps, `${label}\n`);
  if (label !== at) return;
  isStopping = true;
  // What only lives below it, so that whoever waits for its end knows.
  appendFileSync(`${world}/processes`, descendants().join('\n'));
  STOPS[how]();
}

/** Counts the calls of a function that changes the disk, by the path that it is about. */
function counted(object, name, pathOf) {
  const original = object[name];
  object[name] = function (...args) {
    const path = pathOf(this, args);
    if (path?.startsWith(world)) step(`${name} ${path}`);
    return original.apply(this, args);
  };
}

if (isMainThread && world) {
  const { promises } = fs;
  const probe = await promises.open('/dev/null');
  const FileHandle = Object.getPrototypeOf(probe);
  await probe.close();
  const paths = new WeakMap();
  const { open } = promises;
  promises.open = async (path, flags, ...more) => {
    const changes = typeof flags === 'number' ? flags & 3 : flags !== undefined && flags !== 'r';
    if (changes && String(path).startsWith(world)) step(`open ${path}`);
    const file = await open(path, flags, ...more);
    paths.set(file, String(path));
    return file;
  };
  for (const name of ['write', 'writeFile', 'appendFile', 'truncate', 'sync']) {
    counted(FileHandle, name, (file) => paths.get(file));
  }
  for (const name of ['writeFile', 'mkdir', 'rename', 'rm', 'link']) counted(promises, name, (_, [path]) => path);
  // Locks and whole files that are replaced, by callbacks.
  for (const name of ['mkdir', 'rmdir', 'rename']) counted(fs, name, (_, [path]) => path);
  syncBuiltinESMExports();
  const { write } = process.stderr;
  process.stderr.write = function (text, ...more) {
    // How far a task is says a clock.
    if (!/\d %/.test(text)) step(`event ${String(text).trim()}`);
    return write.call(this, text, ...more);
  };
}
