import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parentStatements, parentUserData } from '../../../enclave-render/host/aws/user-data.ts';
import { parentSettings } from '../../../enclave-render/host/parent-settings.ts';
import { packagePath } from '../../../local/package-root.ts';
import { isOnPath } from '../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));

/** Of RFC 8032 §7.1, test 1. */
const OWNER = 'MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';
const SETTINGS = {
  region: 'eu-central-1',
  jobs: { bucket: 'renders' },
  owners: [OWNER],
  image: '/opt/portcullis/render.eif',
  cpus: 2,
  memoryMib: 8192,
  work: '/var/lib/portcullis',
};

describe('the settings of a parent', () => {
  test('are taken with what is not said', () => {
    expect(parentSettings(SETTINGS, 'x')).toEqual({ ...SETTINGS, pollSeconds: 10 });
    expect(parentSettings({ ...SETTINGS, jobs: { folder: '/srv/jobs' } }, 'x').jobs).toEqual({ folder: '/srv/jobs' });
  });

  test.each<[string, object, RegExp]>([
    ['a region that is none', { region: 'Frankfurt' }, /region has to be a region, such as/],
    ['bucket and folder', { jobs: { bucket: 'renders', folder: '/srv' } }, /jobs has to be/],
    ['no place', { jobs: {} }, /jobs has to be/],
    ['a relative path', { image: 'render.eif' }, /image has to be an absolute path/],
    ['a path that means something to a shell', { image: '/opt/$(id)' }, /image/],
    ['no word of owners', { owners: undefined }, /owners/],
    [
      'an owner in PEM',
      { owners: [`-----BEGIN PUBLIC KEY-----\n${OWNER}`] },
      /owners.0 has to be an Ed25519 public key/,
    ],
    ['no processors', { cpus: 0 }, /cpus/],
    ['memory that is no number', { memoryMib: '8192' }, /memoryMib/],
    ['a field that is none', { debug: true }, /debug/],
  ])('%s is refused by name', (_, change, message) => {
    const refused = () => parentSettings({ ...SETTINGS, ...change }, 'parent.json');
    expect(refused).toThrow(message);
    expect(refused).toThrow(expect.objectContaining({ code: 'ERR_HOST_SETTINGS' }));
  });

  test('that are none end the program with 2, and what to mend', () => {
    const file = join(folder, 'parent.json');
    writeFileSync(file, JSON.stringify({ ...SETTINGS, image: join(folder, 'no.eif') }));
    const program = packagePath('dist/enclave/parent/parent.mjs');
    const { status, stdout } = spawnSync(process.execPath, [program, file], { encoding: 'utf8' });
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ event: 'not-started', code: 'ERR_EIF_FILE' });
  });
});

const USER_DATA = {
  artefacts: { bucket: 'cdk-assets', key: '0123abcd.zip' },
  region: 'eu-central-1',
  bucket: 'renders',
  owners: [OWNER],
  cpus: 2,
  memoryMib: 8192,
  logGroup: '/portcullis/parent',
};

describe('what makes a parent of an instance', () => {
  test('is a script that bash reads, with settings that the parent takes', () => {
    const script = parentUserData(USER_DATA);
    execFileSync('bash', ['-n'], { input: script });
    const [, settings = ''] = /parent\.json <<'EOF'\n([\s\S]*?)\nEOF/.exec(script) ?? [];
    expect(parentSettings(JSON.parse(settings), 'x')).toMatchObject({ jobs: { bucket: 'renders' }, memoryMib: 8192 });
    // systemd would open the log before it makes its folder.
    const steps = ['useradd', '/var/log/portcullis', 'enable --now portcullis-parent'].map((step) =>
      script.indexOf(step),
    );
    expect(steps).toEqual(steps.toSorted((one, other) => one - other));
    expect(script).toContain('install -d -o portcullis -g portcullis -m 0750 /var/log/portcullis\n');
    // Longer ones are refused by EC2.
    expect(Buffer.byteLength(script)).toBeLessThan(16_384);
  });

  test.each<[string, object]>([
    ['a key of artefacts', { artefacts: { bucket: 'b', key: 'a; reboot' } }],
    ['a bucket', { bucket: "renders'\nEOF\nreboot" }],
    ['owners', { owners: ["MCow'\nEOF\nreboot"] }],
    ['a region', { region: '$(reboot)' }],
    ['a log group', { logGroup: 'x\nEOF\nreboot' }],
    ['memory', { memoryMib: Number.NaN }],
  ])('is none when %s would mean something to a shell', (_, change) => {
    expect(() => parentUserData({ ...USER_DATA, ...change })).toThrow(
      expect.objectContaining({ code: 'ERR_HOST_SETTINGS' }),
    );
  });

  test('allows its role nothing that opens a job, and names every resource', () => {
    const arns = {
      bucket: 'arn:aws:s3:::renders',
      keys: ['arn:aws:kms:eu-central-1:111122223333:key/0'],
      artefacts: 'arn:aws:s3:::cdk-assets/0123abcd.zip',
      logGroup: 'arn:aws:logs:eu-central-1:111122223333:log-group:/portcullis/parent',
    };
    const statements = parentStatements(arns);
    expect(statements.flatMap(({ Action }) => Action).filter((action) => action.startsWith('kms:'))).toEqual([
      'kms:Decrypt',
    ]);
    expect(statements.flatMap(({ Resource }) => Resource).every((resource) => resource.startsWith('arn:aws:'))).toBe(
      true,
    );
    // What it may read it may also find missing: the first job of a bucket has no audit log before it.
    const named = (sid: string) => statements.find(({ Sid }) => Sid === sid);
    expect(
      named('ListJobs')?.Condition?.StringLike?.['s3:prefix']?.map((prefix) => `${arns.bucket}/${prefix}`),
    ).toEqual(named('ReadJobs')?.Resource);
    const removable = statements
      .filter(({ Action }) => Action.includes('s3:DeleteObject'))
      .flatMap(({ Resource }) => Resource);
    expect(removable).toEqual(['arn:aws:s3:::renders/incoming/*', 'arn:aws:s3:::renders/jobs/*/failure.json']);
  });

  test('can be called by CDK as it was built', async () => {
    const built = await import(packagePath('dist/enclave/aws/user-data.mjs'));
    expect(built.parentUserData(USER_DATA)).toBe(parentUserData(USER_DATA));
  });

  test.skipIf(!isOnPath('systemd-analyze'))('has a unit that systemd reads', () => {
    const unit = packagePath('dist/enclave/parent/portcullis-parent.service');
    const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8' });
    expect(stderr).not.toMatch(/Unknown|Failed to parse|ignoring/);
    expect(readFileSync(unit, 'utf8')).toContain('User=portcullis');
  });
});
