import type { DataKeyBits } from '../kms/data-keys.ts';
import type { MasterMode } from './manifest.ts';
import { MasterError } from './master-error.ts';

/** What there is to know of a mode. Lengths in bytes. */
export interface Mode {
  /** Name of the cipher in OpenSSL, by the length of the data key in bits. */
  cipher: Partial<Record<DataKeyBits, string>>;
  /** Lengths of initialization vector that are taken. */
  ivLengths: readonly number[];
  /** Length of the one that is made; 0: none. */
  ivBytes: number;
  /** Length of the tag at the end. */
  tagBytes: number;
  /** PKCS#7 (RFC 5652 §6.3): the ciphertext is the next multiple of 16. */
  padded: boolean;
  /** What keeps it from being changed: the tag, a MAC in the manifest, or a tag for every segment. */
  authenticatedBy: 'tag' | 'mac' | 'frames';
  /** The longest plaintext. */
  maxPlaintextBytes: number;
  /** Whether segments are encrypted independently of each other, so that two threads can. */
  parallel: boolean;
  /** Whether an interrupted run can go on: the modes in which the same bytes come out of the same input. */
  resumable: boolean;
}

const ANY_LENGTH = Number.MAX_SAFE_INTEGER;

/**
 * The modes. AWS Elemental MediaConvert also takes 12 bytes of IV in CTR, without saying how its counter begins; OpenSSL does
 * not, so neither do we.
 */
export const MODES: Readonly<Record<MasterMode, Mode>> = {
  gcm: {
    cipher: { 128: 'aes-128-gcm', 192: 'aes-192-gcm', 256: 'aes-256-gcm' },
    ivLengths: [12, 16],
    ivBytes: 12,
    tagBytes: 16,
    padded: false,
    authenticatedBy: 'tag',
    maxPlaintextBytes: 2 ** 36 - 32,
    parallel: false,
    resumable: false,
  },
  ctr: {
    cipher: { 128: 'aes-128-ctr', 192: 'aes-192-ctr', 256: 'aes-256-ctr' },
    ivLengths: [16],
    ivBytes: 16,
    tagBytes: 0,
    padded: false,
    authenticatedBy: 'mac',
    maxPlaintextBytes: ANY_LENGTH,
    parallel: true,
    resumable: true,
  },
  cbc: {
    cipher: { 128: 'aes-128-cbc', 192: 'aes-192-cbc', 256: 'aes-256-cbc' },
    ivLengths: [16],
    ivBytes: 16,
    tagBytes: 0,
    padded: true,
    authenticatedBy: 'mac',
    maxPlaintextBytes: ANY_LENGTH,
    parallel: false,
    resumable: true,
  },
  framed: {
    cipher: { 256: 'aes-256-gcm' },
    ivLengths: [],
    ivBytes: 0,
    tagBytes: 16,
    padded: false,
    authenticatedBy: 'frames',
    maxPlaintextBytes: ANY_LENGTH,
    parallel: true,
    resumable: false,
  },
};

export const MASTER_MODES = Object.keys(MODES) as MasterMode[];

/** The cipher of a mode for a data key of so many bits. Throws `ERR_MASTER_KEY_LENGTH`. */
export function cipherName(mode: MasterMode, bits: number): string {
  const name = MODES[mode].cipher[bits as DataKeyBits];
  if (name !== undefined) return name;
  const lengths = Object.keys(MODES[mode].cipher).map((length) => `${Number(length) / 8}`);
  throw new MasterError(
    'ERR_MASTER_KEY_LENGTH',
    `the data key has ${bits / 8} bytes: mode ${mode} takes ${lengths.join(', ')}`,
  );
}

/** Throws `ERR_MASTER_IV_LENGTH` unless the mode takes this initialization vector. */
export function checkIv(mode: MasterMode, iv: Uint8Array | undefined): void {
  const { ivLengths } = MODES[mode];
  if (ivLengths.length === 0) {
    if (iv === undefined) return;
    throw new MasterError('ERR_MASTER_IV_LENGTH', `mode ${mode} takes no initialization vector: leave it out`);
  }
  if (iv !== undefined && ivLengths.includes(iv.length)) return;
  const why = mode === 'ctr' && iv?.length === 12 ? ', because nothing says how the counter goes on after 12' : '';
  throw new MasterError(
    'ERR_MASTER_IV_LENGTH',
    `the initialization vector has ${iv?.length ?? 0} bytes: mode ${mode} takes ${ivLengths.join(' or ')}${why}`,
  );
}

/** Throws `ERR_MASTER_TOO_LONG` when a plaintext is longer than the mode takes under one key. */
export function checkPlaintextLength(mode: MasterMode, bytes: number): void {
  const { maxPlaintextBytes } = MODES[mode];
  if (bytes <= maxPlaintextBytes) return;
  throw new MasterError(
    'ERR_MASTER_TOO_LONG',
    `${bytes} bytes are more than mode ${mode} takes (${maxPlaintextBytes}): use framed, ctr or cbc`,
  );
}
