// Makes test/enclave-render/mastering/framed-vectors.json: masters in the format `framed`, as docs/mastering.md describes it, by an
// implementation of its own. Nothing of enclave-render/ is used. Keys and salts are fixed, so that the file is always the same.
import { createCipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const SEGMENT = 1048576;
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const derive = (key, salt, purpose) => Buffer.from(hkdfSync('sha256', key, salt, `portcullis-master/1 ${purpose}`, 32));

function header(key, salt, magic = 'PCFRAMED', segment = SEGMENT) {
  const head = Buffer.concat([Buffer.from(magic), Buffer.alloc(4), salt]);
  head.writeUInt32BE(segment, 8);
  return Buffer.concat([
    head,
    createHmac('sha256', derive(key, salt, 'framed header'))
      .update(head)
      .digest(),
  ]);
}

function segment(key, salt, index, isLast, plaintext) {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(index), 3);
  nonce[11] = isLast ? 1 : 0;
  const cipher = createCipheriv('aes-256-gcm', derive(key, salt, 'framed segments'), nonce);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function seal(key, salt, plaintext) {
  const count = Math.max(1, Math.ceil(plaintext.length / SEGMENT));
  const parts = [header(key, salt)];
  for (let i = 0; i < count; i++) {
    parts.push(segment(key, salt, i, i === count - 1, plaintext.subarray(i * SEGMENT, (i + 1) * SEGMENT)));
  }
  return Buffer.concat(parts);
}

/** Plaintext of any length that a description in words can give. */
const counting = (length) => Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
const key = createHash('sha256').update('data key').digest();
const salt = createHash('sha256').update('salt').digest();
const other = createHash('sha256').update('another').digest();

const good = [0, 1, 16, 1000].map((length) => ({
  name: `${length} bytes`,
  dataKey: hex(key),
  salt: hex(salt),
  plaintext: hex(counting(length)),
  master: hex(seal(key, salt, counting(length))),
}));
const long = [SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5].map((length) => {
  const master = seal(key, salt, counting(length));
  return {
    name: `${length} bytes`,
    dataKey: hex(key),
    salt: hex(salt),
    length,
    masterBytes: master.length,
    masterSha256: sha256(master),
  };
});

const small = seal(key, salt, counting(1000));
const flip = (at) => Buffer.from(small.map((byte, i) => (i === at ? byte ^ 1 : byte)));
const head = header(key, salt);
const bad = [
  ['nothing', 'ERR_MASTER_LENGTH', Buffer.alloc(0)],
  ['the header alone', 'ERR_MASTER_LENGTH', head],
  ['a byte less than header and tag', 'ERR_MASTER_LENGTH', small.subarray(0, 91)],
  ['another magic', 'ERR_MASTER_COMMITMENT', flip(0)],
  [
    'another magic, authenticated',
    'ERR_MASTER_COMMITMENT',
    Buffer.concat([header(key, salt, 'PCFRAMEX'), small.subarray(76)]),
  ],
  [
    'another segment length, authenticated',
    'ERR_MASTER_COMMITMENT',
    Buffer.concat([header(key, salt, 'PCFRAMED', 1000), small.subarray(76)]),
  ],
  ['another salt', 'ERR_MASTER_COMMITMENT', flip(12)],
  ['another commitment', 'ERR_MASTER_COMMITMENT', flip(75)],
  ['the master of another data key', 'ERR_MASTER_COMMITMENT', seal(other, salt, counting(1000))],
  [
    'the header of another master under the same data key',
    'ERR_MASTER_AUTHENTICATION',
    Buffer.concat([header(key, other), small.subarray(76)]),
  ],
  ['a bit of the ciphertext', 'ERR_MASTER_AUTHENTICATION', flip(76)],
  ['a bit of the tag', 'ERR_MASTER_AUTHENTICATION', flip(small.length - 1)],
  ['a byte cut off', 'ERR_MASTER_AUTHENTICATION', small.subarray(0, -1)],
  ['a byte appended', 'ERR_MASTER_AUTHENTICATION', Buffer.concat([small, Buffer.alloc(1)])],
  [
    'a last segment that is not marked as last',
    'ERR_MASTER_AUTHENTICATION',
    Buffer.concat([head, segment(key, salt, 0, false, counting(9))]),
  ],
  [
    'a segment of another number',
    'ERR_MASTER_AUTHENTICATION',
    Buffer.concat([head, segment(key, salt, 1, true, counting(9))]),
  ],
].map(([name, code, master]) => ({ name, dataKey: hex(key), master: hex(master), code }));

const content = {
  description:
    'framed, docs/mastering.md. good: master opens to plaintext. long: byte i of the plaintext is (7 i + floor(i / 256)) mod 256. bad: refused.',
  good,
  long,
  bad,
};
writeFileSync(
  new URL('../test/enclave-render/mastering/framed-vectors.json', import.meta.url),
  `${JSON.stringify(content, null, 2)}\n`,
);
