import type { MigratedTables } from '../token-api/migration/assets.ts';
import type { SolutionConfiguration } from '../token-api/migration/solution-configuration.ts';

/** A step of a migration. Lines of `run` are commands. */
export interface MigrationStep {
  title: string;
  why: string;
  run: string[];
  /** What has to be so before the next step. */
  check: string;
  /** How to go back from here. */
  back: string;
}

/** Name of the function that takes both kinds of token. */
const DUAL = 'portcullis-dual-accept';

/** How commands reach the deployed API (docs/deployment.md makes such a file). */
const ACCESS = '--api "$API" --token-file tokens.json';

/** A command of npm or the CDK in the checkout, with the configuration of this folder: weeks are between steps, and other shells. */
const inCheckout = (command: string) => `(export PORTCULLIS_CONFIG="$PWD/portcullis.json"; cd CHECKOUT && ${command})`;

/** Kept in the configuration until the last step. */
export const MIGRATION_ROTATION_DAYS = 365;

/** The way from the AWS solution v1 to ours, on which both kinds of token are valid all the time, and back at every step. */
export function migrationSteps(solution: SolutionConfiguration, { assets, sessions }: MigratedTables): MigrationStep[] {
  const old = `${solution.stackName}_checkJWTToken`;
  const unsafe = assets.filter(({ findings }) => findings.some(({ kind }) => kind === 'unsafe')).length;
  const attach = `portcullis attach DISTRIBUTION --function ${DUAL} --replace ${old}`;
  const detection = solution.hasDetection
    ? ''
    : ' revocation.detection.mode is off in it, because nothing says that that solution had a detection.';
  return [
    {
      title: 'Stop the rotation of that solution',
      why: `It writes the function ${old} and both secrets anew; keys that the function of step 4 does not have would deny their viewers.`,
      run: [
        `aws events list-rules --query "Rules[?contains(Name, '${solution.stackName}')]"`,
        'aws events disable-rule --name RULE-OF-ITS-ROTATION',
        `aws cloudfront get-function --name ${old} --stage LIVE old-function.js`,
      ],
      check: 'The rule is DISABLED, and old-function.js is there (it holds keys: mode 0600).',
      back: 'aws events enable-rule --name RULE-OF-ITS-ROTATION',
    },
    {
      title: 'Mend the policies',
      why: `${unsafe} of ${assets.length} protect less than they say (findings in report.json).`,
      run: [
        '# in the exports of its tables; then',
        'portcullis migrate --from … --tables … --out ../migration-mended --json | jq .assets',
        'cd ../migration-mended',
      ],
      check:
        'What is left of the findings is meant to be so. **Go on with step 3 of PLAN.md in ../migration-mended**: what is mended is there alone. Where nothing was to be mended, go on here.',
      back: 'None is needed: nothing was changed yet that viewers see.',
    },
    {
      title: 'Deploy ours beside it',
      why: `Put the distribution's id and the names that it answers to into aws.delivery of portcullis.json first, and aws.region unless it is us-east-1. Without the id its logs are not delivered, and there is no detection; without names playback URLs begin with the address of the API.${detection} The file rotates keys after ${MIGRATION_ROTATION_DAYS} days only: a rotation would not reach ${DUAL}.`,
      run: [
        `jq '.aws.delivery = {"distributionId": "DISTRIBUTION", "domainNames": ["media.example.com"]}' portcullis.json >delivered.json && \\`,
        '  mv delivered.json portcullis.json',
        'portcullis doctor --config portcullis.json',
        inCheckout('npm run synth && npx cdk deploy --all'),
      ],
      check: 'portcullis key show --secret portcullis/key-ring shows a current key, and every alarm is quiet.',
      back: `\`${inCheckout('npx cdk destroy --all')}\`, with what goes before and what stays (docs/deployment.md, "Deleting it"): no viewer came near it yet.`,
    },
    {
      title: 'Build and upload the function that takes both',
      why: 'It carries the keys of that solution and those that the deployed API mints with, and sees no revocations: WAF does.',
      run: [
        'umask 077; aws secretsmanager get-secret-value --secret-id portcullis/key-ring \\',
        '  --query SecretString --output text >deployed-ring.json',
        `portcullis key import --aws ${solution.stackName}_PrimarySecret ${solution.stackName}_SecondarySecret --keys deployed-ring.json`,
        'portcullis edge build --dialect compat --keys deployed-ring.json --config portcullis.json --out dual-accept.js',
        `aws cloudfront create-function --name ${DUAL} --function-code fileb://dual-accept.js \\`,
        '  --function-config Comment=both,Runtime=cloudfront-js-2.0',
        `aws cloudfront publish-function --name ${DUAL} --if-match ETAG`,
        `portcullis edge measure --aws --function ${DUAL} --events old-requests.jsonl`,
      ],
      check: 'Requests of today (old-requests.jsonl, one event a line) go on; the same without a token are denied.',
      back: `aws cloudfront delete-function --name ${DUAL} --if-match ETAG`,
    },
    {
      title: 'Try it in a staging distribution',
      why: 'Only requests with the header aws-cf-cd-portcullis: staging get it.',
      run: [`${attach} --plan`, `${attach} --apply --staging`],
      check:
        'With that header a URL of that solution plays, one of ours plays, one without token is denied with x-portcullis-reason.',
      back: 'portcullis attach DISTRIBUTION --undo',
    },
    {
      title: 'Put it in place',
      why: 'From here on both kinds of token are valid for everybody.',
      run: [`${attach} --apply`],
      check: 'For a day: denials by reason are no more than 401 and 403 were before; none is token-key-unknown.',
      back: 'Back ends that moved go back first (step 8); then portcullis attach DISTRIBUTION --undo: its tokens were valid all the time.',
    },
    {
      title: 'Carry on what is revoked',
      why: `${sessions.length} sessions are revoked there. Its rule group ${solution.stackName}_BlockSessions stays in the web ACL for its tokens. Refer to ours there too, portcullis-revoked-sessions-${solution.capacityWcu} (docs/waf.md): the function of step 4 sees no revocations.`,
      run: sessions.length > 0 ? [`xargs -n 1 portcullis session revoke ${ACCESS} <revoked-sessions.txt`] : [],
      check: 'portcullis revocation list --kind session shows them, and a URL of one of them gets 403.',
      back: 'None is needed.',
    },
    {
      title: 'Move the back ends, one by one',
      why: 'Each may go at its own time.',
      run: assets.map(
        ({ asset }) =>
          `portcullis asset put ${asset.id} --path ${quoted(asset.path)} --policy policies/${asset.id}.json ${ACCESS}`,
      ),
      check: 'Its players get URLs of ours and play; the share of requests with old tokens falls.',
      back: 'The back end asks that solution for tokens again: they are valid still.',
    },
    {
      title: 'End it',
      why: 'When the last old token has expired: the longest lifetime of its policies after the last back end moved.',
      run: [
        `portcullis attach DISTRIBUTION --apply --replace ${DUAL}`,
        `# aws.keys.rotationDays in portcullis.json: ${solution.rotationDays ?? 30}; then`,
        inCheckout('npx cdk deploy --all'),
        `aws cloudformation delete-stack --stack-name ${solution.stackName}    # after a week without a step back`,
      ],
      check: 'URLs of ours play; old ones are denied.',
      back: `portcullis attach DISTRIBUTION --apply --function ${DUAL} --replace portcullis-viewer-request, until its stack is deleted.`,
    },
  ];
}

/** A word for a shell: paths come from a table that others may write. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The steps as a Markdown document. */
export function migrationDocument(steps: MigrationStep[]): string {
  const parts = steps.map(({ title, why, run, check, back }, i) =>
    [
      `## ${i + 1}. ${title}`,
      why,
      ...(run.length > 0 ? [`\`\`\`sh\n${run.join('\n')}\n\`\`\``] : []),
      `**Check:** ${check}`,
      `**Back:** ${back}`,
    ].join('\n\n'),
  );
  const intro = [
    '# From the AWS solution v1 to Portcullis',
    'Both kinds of token are valid from step 6 to step 9, so that no viewer has to stop. Put the id of the distribution for DISTRIBUTION.',
    'Commands are typed in this folder, from step 3 on in the one that step 2 ends in. CHECKOUT is the folder that Portcullis is checked out in; $API, the address of the deployed API, and tokens.json, with tokens of the roles security and backend, are those of its docs/deployment.md.',
    'These steps were never run against AWS: try them on a distribution of no importance first.',
  ].join('\n\n');
  return `${[intro, ...parts].join('\n\n')}\n`;
}
