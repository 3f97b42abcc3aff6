import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { packagePath } from '../../local/package-root.ts';
import { removeDirectory, temporaryDirectory } from './stack.ts';

interface Parser {
  validate(sql: string): { message: string; startLine: number }[];
}

/** Parsers of the dialects that Athena speaks: Trino for queries, Hive for tables. The package does not load in Node as it is. */
export async function sqlParsers(): Promise<{ trino: Parser; hive: Parser }> {
  const folder = temporaryDirectory();
  const outfile = join(folder, 'parsers.mjs');
  await build({
    stdin: {
      contents: "export { TrinoSQL, HiveSQL } from 'dt-sql-parser';",
      resolveDir: packagePath(),
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    logLevel: 'error',
  });
  const { TrinoSQL, HiveSQL } = await import(pathToFileURL(outfile).href);
  removeDirectory(folder);
  return { trino: new TrinoSQL(), hive: new HiveSQL() };
}
