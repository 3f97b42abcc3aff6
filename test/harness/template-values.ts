/** Pseudo parameters as they are in an account. */
const PSEUDO: Record<string, string> = {
  'AWS::AccountId': '123456789012',
  'AWS::Partition': 'aws',
  'AWS::URLSuffix': 'amazonaws.com',
};

/**
 * A value of a template as CloudFormation would write it, with the logical id in the place of what a resource is called, and
 * `<id>.<attribute>` of what an attribute of it is.
 */
// biome-ignore lint/suspicious/noExplicitAny: a template has values of any shape.
export function evaluate(value: unknown, known: Record<string, string> = {}): any {
  if (Array.isArray(value)) return value.map((member) => evaluate(member, known));
  if (typeof value !== 'object' || value === null) return value;
  const { Ref, 'Fn::Join': joined, 'Fn::GetAtt': attribute } = value as Record<string, unknown>;
  if (typeof Ref === 'string') return known[Ref] ?? PSEUDO[Ref] ?? Ref;
  if (Array.isArray(attribute)) return attribute.join('.');
  if (Array.isArray(joined)) return (joined[1] as unknown[]).map((part) => evaluate(part, known)).join(joined[0]);
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, evaluate(member, known)]));
}
