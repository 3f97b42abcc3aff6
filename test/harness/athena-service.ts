import {
  AthenaClient,
  GetQueryExecutionCommand,
  GetQueryResultsCommand,
  type GetQueryResultsInput,
  GetWorkGroupCommand,
  InvalidRequestException,
  type QueryExecutionStatus,
  StartQueryExecutionCommand,
  type StartQueryExecutionInput,
  StopQueryExecutionCommand,
} from '@aws-sdk/client-athena';
import { mockClient } from 'aws-sdk-client-mock';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

const told = (message: string) => ({ message, $metadata: { requestId: 'r-1' } });

/** A query that was started. */
interface Query {
  sql: string;
  /** How often it is still said to be under way. */
  polls: number;
  status: QueryExecutionStatus;
  answer: Answer;
}

/** What a query answers: null is NULL. */
interface Answer {
  columns: string[];
  rows: (string | null)[][];
}

/**
 * Athena in memory behind a real client, at the shapes of the SDK's types: a start is repeated by its ClientRequestToken, a
 * query is under way for some polls, results come in pages with the names of the columns as the first row. What a query answers
 * is given, unless something is given that runs it.
 */
export class AthenaService {
  readonly client = new AthenaClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
    maxAttempts: 1,
  });
  /** The names of the calls that came. */
  readonly calls: string[] = [];
  /** Run before, and after, a call takes effect: to throw. */
  before: (call: string) => void = () => undefined;
  after: (call: string) => void = () => undefined;

  /** What the workgroup has as BytesScannedCutoffPerQuery. */
  limit: number | undefined = 1e9;
  /** How the next query ends, after how many polls, and what it answers. */
  outcome: QueryExecutionStatus = { State: 'SUCCEEDED' };
  polls = 2;
  columns: string[] = [];
  rows: (string | null)[][] = [];
  execute: ((sql: string) => Promise<Answer>) | undefined;
  bytesScanned = 0;
  pageSize = 1000;

  readonly queries = new Map<string, Query>();
  readonly stopped: string[] = [];
  readonly #started = new Map<string, string>();

  constructor() {
    const mock = mockClient(this.client);
    mock.on(GetWorkGroupCommand).callsFake(() =>
      this.#answer('GetWorkGroup', () => ({
        WorkGroup: { Configuration: { BytesScannedCutoffPerQuery: this.limit } },
      })),
    );
    mock.on(StartQueryExecutionCommand).callsFake((input) => this.#answer('Start', () => this.#start(input)));
    mock.on(GetQueryExecutionCommand).callsFake((input) => this.#answer('Get', () => this.#get(input)));
    mock.on(GetQueryResultsCommand).callsFake((input) => this.#answer('Results', () => this.#results(input)));
    mock.on(StopQueryExecutionCommand).callsFake((input) =>
      this.#answer('Stop', () => {
        this.stopped.push(input.QueryExecutionId);
        return {};
      }),
    );
  }

  async #answer<Result>(call: string, answer: () => Result | Promise<Result>): Promise<Result> {
    this.calls.push(call);
    this.before(call);
    const result = await answer();
    this.after(call);
    return result;
  }

  async #start({ ClientRequestToken = '', QueryString = '' }: StartQueryExecutionInput) {
    if (ClientRequestToken.length < 32) throw new InvalidRequestException(told('ClientRequestToken is too short'));
    const id = this.#started.get(ClientRequestToken) ?? `q-${this.#started.size + 1}`;
    if (!this.#started.has(ClientRequestToken)) {
      this.#started.set(ClientRequestToken, id);
      const { polls, outcome: status, columns, rows } = this;
      const answer = this.execute ? await this.execute(QueryString) : { columns, rows };
      this.queries.set(id, { sql: QueryString, polls, status, answer });
    }
    return { QueryExecutionId: id };
  }

  #get({ QueryExecutionId = '' }: { QueryExecutionId?: string }) {
    const query = this.queries.get(QueryExecutionId);
    if (!query) throw new InvalidRequestException(told(`QueryExecution ${QueryExecutionId} was not found`));
    const Status = query.polls > 0 ? { State: query.polls > 1 ? 'QUEUED' : 'RUNNING' } : query.status;
    query.polls--;
    return { QueryExecution: { QueryExecutionId, Status, Statistics: { DataScannedInBytes: this.bytesScanned } } };
  }

  #results({ QueryExecutionId = '', NextToken, MaxResults = 1000 }: GetQueryResultsInput) {
    const { columns, rows } = this.queries.get(QueryExecutionId)?.answer ?? this;
    const all = [columns, ...rows];
    const from = Number(NextToken ?? 0);
    const to = from + Math.min(MaxResults, this.pageSize);
    return {
      ResultSet: {
        Rows: all
          .slice(from, to)
          .map((values) => ({ Data: values.map((value) => (value === null ? {} : { VarCharValue: value })) })),
        ResultSetMetadata: { ColumnInfo: columns.map((Name) => ({ Name, Type: 'varchar' })) },
      },
      ...(to < all.length ? { NextToken: String(to) } : {}),
    };
  }
}
