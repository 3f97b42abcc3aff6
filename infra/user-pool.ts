import { Aws, Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import { Construct } from 'constructs';
import type { Role } from '../token-api/http/authorize.ts';
import { LOGIN_DOMAIN_PREFIX, NAMES } from './names.ts';

/** Roles of the API, as scopes of programs (`portcullis/backend`) and as groups of people. */
const ROLES: Record<Role, string> = {
  player: 'Plays: gets tokens for itself',
  backend: 'Mints for any viewer, keeps the catalogue',
  security: 'Watches and revokes sessions, rotates keys',
};

/**
 * Who may call the API, where no identity provider is configured: a Cognito user pool. Programs have a client of their role
 * and its scope; people log in with a second factor, and have the roles of their groups: a scope would give everybody the same.
 */
export class UserPool extends Construct {
  readonly issuer: string;
  /** Client ids: Cognito has them in claim `client_id`, which API Gateway compares where there is no `aud`. */
  readonly audience: string[];
  readonly pool: cognito.UserPool;
  /** The client that people log in with. */
  readonly people: cognito.UserPoolClient;

  /** `page` is the address that people come back to when they logged in: without one nothing redirects to these pages. */
  constructor(scope: Construct, page: string | undefined) {
    super(scope, 'UserPool');
    this.pool = new cognito.UserPool(this, 'Pool', {
      userPoolName: NAMES.userPool,
      selfSignUpEnabled: false,
      signInAliases: { email: true },
      mfa: cognito.Mfa.REQUIRED,
      mfaSecondFactor: { otp: true, sms: false },
      accountRecovery: cognito.AccountRecovery.EMAIL_ONLY,
      passwordPolicy: {
        minLength: 14,
        requireLowercase: true,
        requireUppercase: true,
        requireDigits: true,
        requireSymbols: true,
        tempPasswordValidity: Duration.days(2),
      },
      deletionProtection: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    Validations.of(this.pool).acknowledge({
      id: 'AwsSolutions-COG8',
      reason: 'Threat protection needs the Plus plan, which is charged by user; everybody has a second factor',
    });
    this.pool.addDomain('Domain', { cognitoDomain: { domainPrefix: LOGIN_DOMAIN_PREFIX } });

    const names = Object.keys(ROLES) as Role[];
    const scopes = names.map(
      (name) => new cognito.ResourceServerScope({ scopeName: name, scopeDescription: ROLES[name] }),
    );
    const server = this.pool.addResourceServer('Server', { identifier: 'portcullis', scopes });
    const programs = names
      .filter((name) => name !== 'player')
      .map((name) =>
        this.pool.addClient(name, {
          userPoolClientName: `portcullis-${name}`,
          generateSecret: true,
          authFlows: {},
          oAuth: {
            flows: { clientCredentials: true },
            scopes: scopes
              .filter(({ scopeName }) => scopeName === name)
              .map((only) => cognito.OAuthScope.resourceServer(server, only)),
          },
          accessTokenValidity: Duration.hours(1),
        }),
      );
    for (const name of names) this.pool.addGroup(`${name}s`, { groupName: name, description: ROLES[name] });
    this.people = this.pool.addClient('people', {
      userPoolClientName: 'portcullis-people',
      generateSecret: false,
      preventUserExistenceErrors: true,
      authFlows: { userSrp: true },
      ...(page === undefined
        ? { disableOAuth: true }
        : {
            oAuth: {
              flows: { authorizationCodeGrant: true },
              scopes: [cognito.OAuthScope.OPENID],
              callbackUrls: [page],
            },
          }),
      accessTokenValidity: Duration.hours(1),
    });
    const { region } = Stack.of(this);
    this.issuer = `https://cognito-idp.${region}.${Aws.URL_SUFFIX}/${this.pool.userPoolId}`;
    this.audience = [...programs, this.people].map(({ userPoolClientId }) => userPoolClientId);
  }
}
