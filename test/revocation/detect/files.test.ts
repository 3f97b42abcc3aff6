import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { mayBeLog } from '../../../revocation/detect/files.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const V2 = '2026-11-22\t14:00:00\tFRA56-P1\t203.0.113.7\tGET\t/a.m4s\t200\tPlayer';
const JSON_LINE = '{"date":"2026-11-22","time":"14:00:00","x-edge-location":"FRA56-P1"}';

test.each<[string, string, string | Buffer]>([
  ['empty', 'a.log', ''],
  ['with nothing but zeros, by a name of CloudFront', 'E2EXAMPLE.2026-11-22-14.1.gz', Buffer.alloc(4096)],
  ['compressed', 'a.bin', gzipSync('x')],
  ['that begins like gzip', 'b.bin', Buffer.from([0x1f, 0x8b])],
  ['of zeros, as a crash leaves it', 'zeros.log', Buffer.alloc(4096)],
  ['in UTF-16', 'utf16.log', Buffer.from(`\ufeff#Version: 1.0\n`, 'utf16le')],
  ['compressed otherwise', 'a.log.zst', Buffer.from('28b52ffd240161000061', 'hex')],
  ['of Parquet that ends too early', 'c.bin', 'PAR1'],
  ['whose header is cut off', 'd.log', '#Vers'],
  ['that lacks #Fields', 'e.log', `#Version: 1.0\n${V2}\n`],
  ['without names (plain delivery)', 'f.log', `${V2}\n`],
  ['of another server', 'g.log', '203.0.113.7 - - [22/Nov/2026:14:00:00 +0000] "GET /a.m4s HTTP/1.1" 200 9\n'],
  ['of JSON that lacks fields', 'h.json', `${JSON_LINE}\n`],
  ['of JSON whose first line is cut off', 'i.json', JSON_LINE.slice(0, 20)],
])('a file %s may be a damaged log', async (_, name, content) => {
  expect(await mayBeLog(file(name, content))).toBe(true);
});

test.each<[string, string, string | Buffer]>([
  ['a log of something else, in JSON', 'api.log', '{"level":"INFO","message":"GET /v1/sessions","time":"14:00:00"}\n'],
  ['JSON over several lines', 'summary.json', '{\n  "lines": 9\n}\n'],
  ['a table', 'labels.tsv', 'session\tscenario\tkind\nAbCdEf123456\trip\tleak\n'],
  ['a heading', 'README.md', '# Logs\n\nGET these from S3.\n'],
  ['a script', 'fetch.sh', '#!/bin/sh\naws s3 sync s3://logs .\n'],
  ['a note', 'notes.txt', 'Ask for the logs of Größenwahn again.\n'],
])('%s is none', async (_, name, content) => {
  expect(await mayBeLog(file(name, content))).toBe(false);
});
