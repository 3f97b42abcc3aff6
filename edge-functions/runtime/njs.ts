import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CLOUDFRONT_MODULE } from './cloudfront-module.ts';
import { EdgeRuntimeError, type InvocationResult, type RunOptions, TIMEOUT_MS, timeoutError } from './runtime.ts';

const MARK = '\u0001';

/** The driver that is appended to the function: every event in one process, each result on a line of its own. */
function driver(events: unknown[], now: number): string {
  return `
;Date.now = function () { return ${now} * 1000; };
var DRIVER_EVENTS = JSON.parse(${JSON.stringify(JSON.stringify(events))});
function driverPrint(index, result) { console.log(${JSON.stringify(MARK)} + index + ' ' + JSON.stringify(result)); }
function driverStart(index) {
  function done(value) { driverPrint(index, { value: value === undefined ? null : value }); }
  function failed(error) { driverPrint(index, { error: String(error) }); }
  try {
    var result = handler(DRIVER_EVENTS[index]);
    if (result && typeof result.then === 'function') result.then(done, failed);
    else done(result);
  } catch (e) {
    failed(e);
  }
}
for (var driverIndex = 0; driverIndex < DRIVER_EVENTS.length; driverIndex++) driverStart(driverIndex);
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
    const read = `var ENTRIES = JSON.parse(${JSON.stringify(entries)});
function READ(key) { return Object.prototype.hasOwnProperty.call(ENTRIES, key) ? ENTRIES[key] : undefined; }`;
    await writeFile(join(directory, 'cloudfront'), `${read}${CLOUDFRONT_MODULE}export default cloudfrontModule;`, {
      mode: 0o600,
    });
    await writeFile(join(directory, 'function.js'), `${code}${driver(events, options.now)}`, { mode: 0o600 });
    const { stdout } = await promisify(execFile)('njs', ['-p', directory, join(directory, 'function.js')], {
      maxBuffer: 1 << 30,
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    const results: InvocationResult[] = [];
    for (const line of stdout.split('\n')) {
      if (!line.startsWith(MARK)) continue;
      const space = line.indexOf(' ');
      results[Number(line.slice(1, space))] = JSON.parse(line.slice(space + 1));
    }
    for (let i = 0; i < events.length; i++) results[i] ??= { error: 'the handler never finished' };
    return results;
  } catch (error) {
    if (error instanceof SyntaxError) throw new EdgeRuntimeError('ERR_RUNTIME_FUNCTION', 'njs printed no JSON');
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
