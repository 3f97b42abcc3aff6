// Draws docs/stacks.svg from the cloud assembly of a deployment with all modules; --check only compares.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cloudAssembly } from './cloud-assembly.mjs';
import { EVERYTHING, stackDiagram, stacksWithTypes } from './stack-diagram.mjs';

const file = new URL('../docs/stacks.svg', import.meta.url);
const scratch = mkdtempSync(join(tmpdir(), 'portcullis-diagram-'));
try {
  const config = join(scratch, 'portcullis.json');
  const out = join(scratch, 'cdk.out');
  writeFileSync(config, JSON.stringify(EVERYTHING));
  await cloudAssembly({ config, out });
  const svg = stackDiagram(stacksWithTypes(out));
  if (!process.argv.includes('--check')) writeFileSync(file, svg);
  else if (readFileSync(file, 'utf8') !== svg) {
    process.stderr.write('docs/stacks.svg is not what is deployed; run: node scripts/make-stack-diagram.mjs\n');
    process.exitCode = 1;
  }
} finally {
  rmSync(scratch, { recursive: true });
}
