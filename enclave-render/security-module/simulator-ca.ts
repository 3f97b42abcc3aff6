import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto';
import { link, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readPrivateBytes } from '../private-file.ts';
import { type Issuer, issueCertificate } from './certificate.ts';
import { SecurityModuleError } from './security-module.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ROOT_NAME = 'simulated.nitro-enclaves';
const ROOT_YEARS = 30;

/**
 * The chain of one module: DER from the root to the instance, that of the leaf, and the key that documents are signed
 * with.
 */
export interface SimulatedChain {
  cabundle: Buffer[];
  certificate: Buffer;
  privateKey: KeyObject;
  /** Milliseconds since the epoch, between which all of it is valid. */
  notBefore: number;
  notAfter: number;
}

/** The certification authority of simulated modules on one machine: only its root outlives a launch. */
export interface SimulatorCa {
  /** SHA-256 of the root certificate, hexadecimal: who takes its documents has to name it. */
  readonly root: string;
  /** `i-…` of the parent that modules of this authority say they run on: of the root, so that it stays. */
  readonly instanceId: string;
  /**
   * A chain for a module, of now: as AWS's, from a regional authority over a zonal one and the instance to a leaf of
   * three hours.
   */
  issueChain(moduleId: string, now: number): SimulatedChain;
}

/**
 * Opens the authority in `folder` (mode 0700), and makes it when there is none; of two who make it at once both get the
 * same. Its root is valid for 30 years from `now`, in milliseconds since the epoch. Rejects with
 * `ERR_MODULE_SIMULATOR`.
 */
export async function openSimulatorCa(folder: string, now: number): Promise<SimulatorCa> {
  const path = join(folder, 'simulator-ca.pem');
  const refused = (why: string) =>
    new SecurityModuleError('ERR_MODULE_SIMULATOR', `cannot use the simulator's authority ${path}: ${why}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if ((await stat(folder)).mode & 0o077) throw refused(`others may look into its folder: chmod 700 ${folder}`);
    const content = (await readPrivateBytes(path, refused)) ?? (await create(path, now, refused));
    return authority(content.toString('latin1'), () => refused('it is damaged; remove it, and a new one is made'));
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    throw syscall === undefined ? error : refused(String(code));
  }
}

/** Writes key and certificate of a new root, in one step, unless another process was first; what is there then. */
async function create(path: string, now: number, refused: (why: string) => Error): Promise<Buffer> {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const end = new Date(now);
  end.setUTCFullYear(end.getUTCFullYear() + ROOT_YEARS);
  const content = {
    serialNumber: serial(16),
    commonName: ROOT_NAME,
    publicKey: keys.publicKey,
    // The authorities below it are some days old at the first launch, as those of AWS are.
    notBefore: new Date(now - 7 * DAY),
    notAfter: end,
    authority: {},
    keyUsage: ['digitalSignature', 'keyCertSign', 'cRLSign'] as const,
  };
  const root = issueCertificate({ ...content, keyUsage: [...content.keyUsage] }, { commonName: ROOT_NAME, ...keys });
  const pem = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) + new X509Certificate(root).toString();
  const partial = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    await writeFile(partial, pem, { mode: 0o600, flag: 'wx' });
    await link(partial, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(partial, { force: true });
  }
  const made = await readPrivateBytes(path, refused);
  if (!made) throw refused('it vanished');
  return made;
}

function authority(pem: string, damaged: () => Error): SimulatorCa {
  const { certificate, issuer } = parsed(pem, damaged);
  const root = createHash('sha256').update(certificate.raw).digest('hex');
  const instanceId = `i-${root.slice(0, 17)}`;
  return {
    root,
    instanceId,
    issueChain: (moduleId, now) => issueChain(certificate.raw, issuer, instanceId, moduleId, now),
  };
}

function parsed(pem: string, damaged: () => Error): { certificate: X509Certificate; issuer: Issuer } {
  try {
    const certificate = new X509Certificate(pem.slice(pem.indexOf('-----BEGIN CERTIFICATE')));
    const privateKey = createPrivateKey(pem);
    if (certificate.checkPrivateKey(privateKey) && certificate.verify(certificate.publicKey)) {
      return { certificate, issuer: { commonName: ROOT_NAME, privateKey, publicKey: certificate.publicKey } };
    }
  } catch {
    // Below: whatever is wrong with it, there is one way out.
  }
  throw damaged();
}

/** The levels between root and leaf, and for how long each is valid around now: about as AWS has them. */
function issueChain(root: Buffer, issuer: Issuer, instanceId: string, moduleId: string, now: number): SimulatedChain {
  const second = Math.floor(now / 1000) * 1000;
  const id = () => randomBytes(8).toString('hex');
  const authorities = ['keyCertSign', 'cRLSign', 'digitalSignature'] as const;
  const levels = [
    { name: `${id()}.local.${ROOT_NAME}`, age: 2 * DAY, life: 20 * DAY, pathLength: 2, usage: authorities, list: true },
    {
      name: `${id()}.zonal.local.${ROOT_NAME}`,
      age: DAY,
      life: 6 * DAY,
      pathLength: 1,
      usage: authorities,
      list: true,
    },
    {
      name: `${instanceId}.local.${ROOT_NAME}`,
      age: HOUR,
      life: DAY,
      pathLength: 0,
      usage: ['keyCertSign'] as const,
      list: false,
    },
  ];
  const cabundle = [root];
  let above = issuer;
  for (const { name, age, life, pathLength, usage, list } of levels) {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const content = {
      serialNumber: serial(16),
      commonName: name,
      publicKey: keys.publicKey,
      notBefore: new Date(second - age),
      notAfter: new Date(second - age + life),
      authority: { pathLength },
      keyUsage: [...usage],
      // A name that never resolves (RFC 6761 §6.4): there is nothing to fetch.
      ...(list && { revocationList: `http://crl.simulated.invalid/${id()}.crl` }),
    };
    cabundle.push(issueCertificate(content, above));
    above = { commonName: name, ...keys };
  }
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const certificate = issueCertificate(
    {
      serialNumber: serial(16),
      commonName: `${moduleId}.local.simulated`,
      publicKey: keys.publicKey,
      notBefore: new Date(second),
      notAfter: new Date(second + 3 * HOUR),
      authority: false,
      keyUsage: ['digitalSignature', 'nonRepudiation'],
    },
    above,
  );
  return { cabundle, certificate, privateKey: keys.privateKey, notBefore: second, notAfter: second + 3 * HOUR };
}

/** A random serial number, positive and of full length in DER. */
function serial(bytes: number): Buffer {
  const number = randomBytes(bytes);
  number[0] = ((number[0] as number) & 0x3f) | 0x40;
  return number;
}
