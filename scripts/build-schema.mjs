// Writes dist/portcullis.schema.json, the JSON Schema of portcullis.json for editors, with what docs/configuration.md says of
// each setting.
import { readFileSync, writeFileSync } from 'node:fs';
import { configurationJsonSchema } from '../dist/lib/config/json-schema.js';

const docs = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8');
const schema = `${JSON.stringify(configurationJsonSchema(docs), null, 2)}\n`;
writeFileSync(new URL('../dist/portcullis.schema.json', import.meta.url), schema);
process.stderr.write('  portcullis.schema.json\n');
