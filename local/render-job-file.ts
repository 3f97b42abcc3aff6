import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { RenderError } from '../enclave-render/render/render-manifest.ts';
import { packagePath } from './package-root.ts';
import { type RenderJob, RenderJobSchema } from './render-jobs.ts';

/**
 * A job of what its file holds, with a template of ours by its name read in. `name`: of the file, for messages. Rejects with
 * `ERR_RENDER_JOB`, which says the field.
 */
export async function parseJobFile(name: string, content: unknown): Promise<RenderJob> {
  const template = (content as { template?: unknown } | null)?.template;
  if (Object.hasOwn(Object(content), 'splitSeconds') && template !== 'transcode') {
    throw refused(`${name}: splitSeconds goes with the template transcode`);
  }
  const named = typeof template === 'string' ? { ...(content as object), template: await preset(template) } : content;
  const result = v.safeParse(RenderJobSchema, named);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw refused(`${name}: ${v.getDotPath(issue) ?? 'the job'} has to be ${issue.expected ?? issue.message}`);
}

async function preset(name: string): Promise<unknown> {
  const folder = packagePath('dist/render-templates');
  const names = (await readdir(folder)).map((file) => file.replace(/\.json$/, ''));
  if (names.includes(name)) return JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8'));
  throw refused(`there is no template ${name}: name one of ${names.join(', ')}, or write the template itself`);
}

function refused(why: string): RenderError {
  return new RenderError('ERR_RENDER_JOB', why);
}
