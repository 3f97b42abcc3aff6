import { examineConfiguration } from '../../config/configuration.ts';
import { MODULE_NAMES, MODULES } from '../../config/deployment.ts';
import { PRICES } from '../../config/prices.ts';

/** Answers by the path of their setting. An empty text is none. */
export type Answers = Record<string, unknown>;

/** What is asked about a setting. */
export interface Question {
  path: string;
  message: string;
  /** What may be chosen, each with what it means; a text without. */
  choices?: { value: string | boolean; hint: string }[];
  /** Whether any number of them may be. */
  many?: true;
  /** Of a text: what one looks like. */
  example?: string;
  /** Whether the setting is a list, of which one is asked for. */
  isList?: true;
  /** Whether it is written even when it is the default, because people look for it. */
  isShown?: true;
  /** Whether it matters after these answers. */
  when?: (answers: Answers) => boolean;
}

const has = (name: (typeof MODULE_NAMES)[number]) => (answers: Answers) =>
  (answers['aws.modules'] as string[]).includes(name);
const isGiven = (path: string) => (answers: Answers) => Boolean(answers[path]);

/** Everything that is asked, in order. */
export const QUESTIONS: Question[] = [
  {
    path: 'aws.modules',
    message: 'What is deployed?',
    choices: MODULE_NAMES.map((name) => ({ value: name, hint: MODULES[name].makes })),
    many: true,
    isShown: true,
  },
  { path: 'aws.region', message: 'In which region?', example: 'eu-central-1', isShown: true },
  {
    path: 'aws.delivery.origin',
    message: "Where are the media? A domain name, or 'packages'; nothing to use a distribution that is there",
    example: 'origin.example.com',
    when: has('base'),
  },
  {
    path: 'aws.delivery.distributionId',
    message: 'Which distribution is there? Its access logs are looked at; nothing for no detection',
    example: 'E1A2B3C4D5E6F7',
    when: (answers) => has('revocation')(answers) && !isGiven('aws.delivery.origin')(answers),
  },
  {
    path: 'aws.delivery.domainNames',
    message: 'A name of its own for the distribution? Playback URLs begin with it; nothing for one of CloudFront',
    example: 'media.example.com',
    isList: true,
    when: (answers) => isGiven('aws.delivery.origin')(answers) || has('api')(answers),
  },
  {
    path: 'aws.delivery.certificateArn',
    message: 'The certificate of that name, in us-east-1',
    example: 'arn:aws:acm:us-east-1:123456789012:certificate/…',
    when: (answers) => isGiven('aws.delivery.origin')(answers) && isGiven('aws.delivery.domainNames')(answers),
  },
  {
    path: 'aws.identity.issuer',
    message: 'Who issues the bearer tokens of the API? An OpenID provider; nothing for a Cognito user pool',
    example: 'https://login.example.com',
    when: has('api'),
  },
  {
    path: 'aws.console.clientId',
    message: 'With which public client of that provider does the console log people in?',
    example: 'portcullis-console',
    when: (answers) => has('console')(answers) && isGiven('aws.identity.issuer')(answers),
  },
  { path: 'aws.alarmEmail', message: 'Who is told of alarms? Nothing for nobody', example: 'media-oncall@example.com' },
  {
    path: 'edge.mode',
    message: 'What does the edge do to begin with?',
    choices: [
      { value: 'enforce', hint: 'it denies what has no valid token' },
      { value: 'log', hint: 'it logs what it would deny: for titles that play without tokens now' },
      { value: 'off', hint: 'it looks at nothing until told path by path' },
    ],
    when: has('base'),
    isShown: true,
  },
  {
    path: 'revocation.detection.mode',
    message: 'What becomes of sessions that leak?',
    choices: [
      { value: 'log', hint: 'they are listed, and people decide' },
      { value: 'enforce', hint: 'they are revoked, within bounds' },
      { value: 'off', hint: 'nobody looks' },
    ],
    when: has('revocation'),
    isShown: true,
  },
  {
    path: 'revocation.waf.publish',
    message: 'Should WAF block revoked sessions too?',
    choices: [
      { value: false, hint: 'the edge function does, at no extra charge' },
      { value: true, hint: `$${PRICES.wafRequest.usd.toFixed(2)} more for each million requests` },
    ],
    when: has('revocation'),
  },
  {
    path: 'aws.render.imageId',
    message: 'Machine image of the instances that render',
    example: 'ami-0123456789abcdef0',
    when: has('render'),
  },
  ...['0', '1', '2'].map((register) => ({
    path: `aws.render.pcrs.${register}`,
    message: `Register PCR${register} of the enclave image, as \`portcullis enclave measure\` prints it`,
    example: '96 hex digits',
    when: has('render'),
  })),
  {
    path: 'aws.render.owners',
    message: 'Who may have jobs rendered? A key of `portcullis render keys`; nothing for nobody yet',
    example: 'MCowBQYDK2VwAyEA…',
    isList: true,
    when: has('render'),
  },
];

const defaults = examineConfiguration({});

/** The default of a setting, undefined when it has none. */
export function defaultOf(path: string): unknown {
  if (!('configuration' in defaults)) throw new Error('the defaults contradict each other');
  return path
    .split('.')
    .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], defaults.configuration);
}

/** The content of a configuration file for some answers: what differs from the defaults, and what people look for. */
export function contentOf(answers: Answers): Record<string, unknown> {
  const content: Record<string, unknown> = {};
  for (const { path, isShown, isList, when = () => true } of QUESTIONS) {
    const answer = answers[path];
    if (answer === undefined || answer === '' || !when(answers)) continue;
    if (!isShown && answer === defaultOf(path)) continue;
    const names = path.split('.');
    const last = names.pop() as string;
    let at = content;
    for (const name of names) {
      at[name] ??= {};
      at = at[name] as Record<string, unknown>;
    }
    at[last] = isList ? [answer] : answer;
  }
  return content;
}

/** Why an answer cannot be taken after those before it; undefined when it can. */
export function problemWith({ path }: Question, answer: unknown, before: Answers): string | undefined {
  const { problems } = examineConfiguration(contentOf({ ...before, [path]: answer }));
  // What is missing is said of what it is missing in.
  const isAbout = (other: string) => other === path || other.startsWith(`${path}.`) || path.startsWith(`${other}.`);
  return problems.find((problem) => isAbout(problem.path))?.why;
}
