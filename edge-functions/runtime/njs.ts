import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CLOUDFRONT_MODULE } from './cloudfront-module.ts';
import { EdgeRuntimeError, type InvocationResult, type RunOptions, TIMEOUT_MS, timeoutError } from './runtime.ts';

const MARK = '\u0001';

/** The driver that is appended to the function: every event in one process, each result on lines of its own. */
function driver(events: unknown[], now: number): string {
  return `
;Date.now = function () { return ${now} * 1000; };
var DRIVER_EVENTS = JSON.parse(${JSON.stringify(JSON.stringify(events))});
// Percent-encoded and in pieces: njs 0.7.9 prints no more than 2,048 bytes at once.
function driverPrint(index, result) {
  const text = encodeURIComponent(JSON.stringify(result));
  for (let from = 0; from < text.length; from += 2000) {
    console.log(${JSON.stringify(MARK)} + index + ' ' + text.slice(from, from + 2000));
  }
}
function driverRun(first) {
  for (let index = first; index < DRIVER_EVENTS.length; index++) {
    driverCloudfront.logged = undefined;
    driverCloudfront.reads = 0;
    const done = function (value) { driverPrint(index, { value: value === undefined ? null : value, log: driverCloudfront.logged, reads: driverCloudfront.reads }); };
    const failed = function (error) { driverPrint(index, { error: String(error), log: driverCloudfront.logged, reads: driverCloudfront.reads }); };
    try {
      const result = handler(DRIVER_EVENTS[index]);
      if (result && typeof result.then === 'function') {
        // One after the other, as on CloudFront: what is logged belongs to one request.
        result.then(done, failed).then(function () { driverRun(index + 1); });
        return;
      }
      done(result);
    } catch (e) {
      failed(e);
    }
  }
}
driverRun(0);
`;
}

/**
 * `EdgeRuntime` on the `njs` program, from which CloudFront's runtime is evidently derived. Rejects with
 * `ERR_RUNTIME_ENGINE` when njs is not installed, `ERR_RUNTIME_FUNCTION` when it does not accept the function.
 */
export async function runInNjs(code: string, events: unknown[], options: RunOptions): Promise<InvocationResult[]> {
  const directory = await mkdtemp(join(tmpdir(), 'portcullis-njs-'));
  try {
    const entries = JSON.stringify(Object.fromEntries(options.store));
    const read = `var UNREADABLE = ${JSON.stringify(options.unreadable ?? [])};
var ENTRIES = JSON.parse(${JSON.stringify(entries)});
function READ(key) { return Object.prototype.hasOwnProperty.call(ENTRIES, key) ? ENTRIES[key] : undefined; }`;
    await writeFile(join(directory, 'cloudfront'), `${read}${CLOUDFRONT_MODULE}export default cloudfrontModule;`, {
      mode: 0o600,
    });
    await writeFile(
      join(directory, 'function.js'),
      `import driverCloudfront from 'cloudfront';\n${code}${driver(events, options.now)}`,
      { mode: 0o600 },
    );
    const { stdout } = await promisify(execFile)('njs', ['-p', directory, join(directory, 'function.js')], {
      maxBuffer: 1 << 30,
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    const printed: string[] = events.map(() => '');
    for (const line of stdout.split('\n')) {
      if (!line.startsWith(MARK)) continue;
      const space = line.indexOf(' ');
      printed[Number(line.slice(1, space))] += line.slice(space + 1);
    }
    return printed.map((text) =>
      text === '' ? { error: 'the handler never finished', reads: 0 } : JSON.parse(decodeURIComponent(text)),
    );
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof URIError)
      throw new EdgeRuntimeError('ERR_RUNTIME_FUNCTION', 'njs printed no JSON');
    if ((error as { killed?: boolean }).killed) throw timeoutError();
    const { code: errorCode, stdout = '', stderr = '' } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (errorCode === 'ENOENT') {
      throw new EdgeRuntimeError('ERR_RUNTIME_ENGINE', 'njs is not installed (Debian: apt-get install njs)');
    }
    const line = `${stdout}${stderr}`.split('\n').find((text) => /Error/.test(text)) ?? String(errorCode);
    throw new EdgeRuntimeError('ERR_RUNTIME_FUNCTION', `njs does not accept the function: ${line.slice(0, 200)}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
