import { ConfigurationError, examineConfiguration, readConfigurationFile } from '../../config/configuration.ts';
import type { Configuration } from '../../config/schema.ts';
import { hasDistribution } from '../../config/stacks.ts';
import { type Finding, failed, ok, warning } from './finding.ts';

/** Settings that are allowed and may surprise. */
const SURPRISES: { path: string; when: (configuration: Configuration) => boolean; says: string }[] = [
  {
    path: 'aws.alarmEmail',
    when: ({ aws }) => aws.alarmEmail === undefined,
    says: 'nobody is told of alarms; they show in CloudWatch alone',
  },
  {
    path: 'aws.delivery.origin',
    when: ({ aws }) => aws.modules.includes('base') && aws.delivery.origin === undefined,
    says: 'no distribution is made: attach the function to one that is there, or name its origin',
  },
  {
    path: 'aws.delivery.distributionId',
    when: (configuration) => configuration.aws.modules.includes('revocation') && !hasDistribution(configuration),
    says: 'access logs of no distribution are known: there is no detection, nor alarms about denials',
  },
  {
    path: 'aws.accessLogs.includeUri',
    when: ({ aws }) => aws.accessLogs.includeUri,
    says: 'access logs hold bearer tokens: whoever reads them can play until these expire',
  },
  {
    path: 'revocation.waf.publish',
    when: ({ aws, revocation }) =>
      revocation.waf.publish && aws.modules.includes('base') && !aws.modules.includes('revocation'),
    says: "the rule group is made and stays empty: the module 'revocation' is what fills it",
  },
  {
    path: 'edge.mode',
    when: ({ edge }) => edge.mode !== 'enforce',
    says: 'nothing is denied where the edge store has no mode of its own for a path',
  },
  {
    path: 'edge.unreadableStore',
    when: ({ edge }) => edge.unreadableStore === 'allow',
    says: 'revoked sessions play on while the edge store cannot be read',
  },
];

/** A finding about a field. */
export type NamedFinding = Finding & { name: string };

/** Reads and checks a configuration; without a path the defaults. `configuration` is missing when it cannot be used. */
export async function checkConfiguration(
  path: string | undefined,
): Promise<{ configuration?: Configuration; findings: NamedFinding[] }> {
  const name = path ?? 'defaults';
  try {
    const examined = examineConfiguration(path === undefined ? {} : await readConfigurationFile(path));
    if (!('configuration' in examined)) {
      return { findings: examined.problems.map(({ path, why }) => ({ name: path, ...failed(why) })) };
    }
    const { configuration } = examined;
    const { modules, region } = configuration.aws;
    const findings: NamedFinding[] = [{ name, ...ok(`valid: ${modules.join(', ')} in ${region}`) }];
    if (path === undefined) return { configuration, findings };
    const surprises = SURPRISES.filter(({ when }) => when(configuration));
    return {
      configuration,
      findings: [...findings, ...surprises.map(({ path, says }) => ({ name: path, ...warning(says) }))],
    };
  } catch (error) {
    if (error instanceof ConfigurationError) return { findings: [{ name, ...failed(error.message) }] };
    throw error;
  }
}
