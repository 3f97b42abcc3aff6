import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Node, type Program, parse } from 'acorn';
import { buildEdgeFunction, type EdgeFunction } from '../build/bundle.ts';
import { EdgeBuildError } from '../build/errors.ts';
import type { EdgeSettings } from '../build/settings.ts';
import { readKeys } from '../store/keys-line.ts';
import { AttachError } from './attach-error.ts';

/**
 * Builds the function that reads the edge store behind the one that a behaviour has now (`edge build --before`): that sees every
 * request first. `code` is what is LIVE of it, `ours` what is LIVE of ours: the result is to do what these two do. `sources` are
 * the compiled sources (`dist/lib/edge-functions/viewer-request`). Throws `ERR_ATTACH_IMPOSSIBLE`, which says what of it does not go.
 */
export async function composeBefore(
  name: string,
  code: string,
  { ours, sources, settings }: { ours: string; sources: string; settings: EdgeSettings },
): Promise<EdgeFunction> {
  const refuse = (why: string) =>
    new AttachError('ERR_ATTACH_IMPOSSIBLE', `function '${name}' is there already and cannot run before ours: ${why}`);
  if (readKeys(ours)) {
    throw refuse("rotation would not reach keys embedded in a second function: set aws.keys.at to 'store'");
  }
  const handler = handlerOf(code);
  if (handler === undefined) throw refuse('it has no top-level handler that can be read');
  if (handler === 'imports') throw refuse('it imports what CloudFront does not have');
  if (handler === 'async') throw refuse('its handler is asynchronous: rewrite it, or look things up at the origin');
  if ((await buildEdgeFunction(sources, 'store', settings)).code !== ours) {
    throw refuse('what is deployed of ours was built otherwise: give its --config, or deploy this version first');
  }
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-attach-'));
  try {
    const before = join(folder, `${name}.js`);
    writeFileSync(before, `${code}\nexport default handler;\n`, { mode: 0o600 });
    return await buildEdgeFunction(sources, 'store', settings, {}, { before });
  } catch (error) {
    if (error instanceof EdgeBuildError) throw refuse(error.message.replaceAll(`${folder}/`, ''));
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What CloudFront lets a function import. Anything else the bundler would look for on this machine. */
const RUNTIME_MODULES: unknown[] = ['cloudfront', 'crypto', 'querystring'];

/** What kind of function a file calls `handler`, undefined for none; `imports` when it wants modules that CloudFront lacks. */
function handlerOf(code: string): 'sync' | 'async' | 'imports' | undefined {
  let program: Program;
  try {
    program = parse(code, { ecmaVersion: 'latest', sourceType: 'module' });
  } catch {
    return undefined;
  }
  const kind = (node: Node | null | undefined) => ((node as { async?: boolean } | null)?.async ? 'async' : 'sync');
  let found: 'sync' | 'async' | undefined;
  for (const statement of program.body) {
    if ('source' in statement && statement.source && !RUNTIME_MODULES.includes(statement.source.value))
      return 'imports';
    if (statement.type === 'FunctionDeclaration' && statement.id.name === 'handler') found = kind(statement);
    if (statement.type !== 'VariableDeclaration') continue;
    for (const { id, init } of statement.declarations) {
      if (id.type === 'Identifier' && id.name === 'handler') found = kind(init);
    }
  }
  return found;
}
