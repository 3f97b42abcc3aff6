import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';

/** A certificate of its own key, in PEM, and that key, made by openssl. */
export function signingCertificate(curve: 'P-256' | 'P-384' | 'P-521' = 'P-384') {
  const key = ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${curve}`, '-nodes', '-keyout', '-'];
  const pem = execFileSync('openssl', ['req', '-x509', ...key, '-days', '30', '-subj', '/CN=image signing'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const at = pem.indexOf('-----BEGIN CERTIFICATE');
  return {
    certificate: pem.slice(at),
    privateKey: createPrivateKey(pem.slice(0, at)),
    privateKeyPem: pem.slice(0, at),
  };
}
