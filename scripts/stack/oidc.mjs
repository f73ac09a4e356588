// A strict OpenID provider on loopback: oidc-provider, configured for tests. Node gets this file on its standard input
// (so that imports resolve in the folder with node_modules) and the settings, an OIDCOptions, as its only argument.
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import Provider from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const options = JSON.parse(process.argv.at(-1));
const seconds = (given, otherwise) => given || otherwise;

const server = http.createServer();
await new Promise((resolve) => server.listen(options.port, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const interactive = {
  redirect_uris: options.redirect_uris,
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
};
const secret = options.client_secret;
const clients = [
  { ...interactive, client_id: 'basic', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic' },
  { ...interactive, client_id: 'post', client_secret: secret, token_endpoint_auth_method: 'client_secret_post' },
  { ...interactive, client_id: 'public', token_endpoint_auth_method: 'none', application_type: 'native' },
  {
    client_id: 'machine', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: 'read write',
  },
];

// Many providers go on taking a rotated refresh token for a while, so that a client whose answer got lost can repeat
// itself. This one has no such setting, so within the window the store hides that the token was used.
const memory = createMemoryAdapter();
function adapter(model) {
  const inner = memory(model);
  if (model === 'Client') { // one client more, whose keys change
    return Object.assign(Object.create(inner), {
      async find(id) {
        if (id !== 'signer' || !control.client_jwks) return undefined;
        return {
          ...interactive, client_id: id, token_endpoint_auth_method: 'private_key_jwt', jwks: control.client_jwks,
        };
      },
    });
  }
  if (model !== 'RefreshToken') return inner;
  return Object.assign(Object.create(inner), {
    async find(id) {
      const found = await inner.find(id);
      const age = Date.now() / 1000 - found?.consumed;
      return age < control.reuse_window ? { ...found, consumed: undefined } : found;
    },
  });
}

// What a test may change while the server runs, and what it may count.
const control = {
  token_delay_ms: options.token_delay_ms ?? 0,
  reuse_window: options.reuse_window ?? 0,
  client_jwks: options.client_jwks,
};
const counts = { received: {}, answered: {} };
const count = (which, grant) => { counts[which][grant] = (counts[which][grant] ?? 0) + 1; };

const provider = new Provider(issuer, {
  adapter,
  clients,
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
  scopes: ['openid', 'offline_access', 'read', 'write'],
  async findAccount(ctx, sub) {
    return { accountId: sub, claims: () => ({ sub, name: sub, email: `${sub}@example.com`, email_verified: true }) };
  },
  clientBasedCORS: () => false,
  clockTolerance: 0, // the default lets an expired token live on for 15 s
  cookies: { keys: ['tests only'] },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    userinfo: { enabled: true },
  },
  pkce: { required: (ctx, client) => client.clientAuthMethod === 'none' },
  ...(options.rotate_refresh_token === 'always' && { rotateRefreshToken: true }),
  ttl: {
    AccessToken: seconds(options.access_token_ttl, 3600),
    ClientCredentials: seconds(options.access_token_ttl, 3600),
    RefreshToken: seconds(options.refresh_token_ttl, 14 * 24 * 3600),
    IdToken: 3600, AuthorizationCode: 60, DeviceCode: 600, Grant: 14 * 24 * 3600, Interaction: 600, Session: 3600,
  },
});

// The delay follows the handling: the token is spent and the answer still on its way.
provider.use(async (ctx, next) => {
  if (ctx.path !== '/token') return next();
  await next();
  const grant = ctx.oidc?.params?.grant_type ?? 'unreadable';
  count('received', grant);
  await pause(control.token_delay_ms);
  if (ctx.status < 300) count('answered', grant);
});

const handle = provider.callback();
server.on('request', async (request, response) => {
  if (request.url !== '/test-control') return handle(request, response);
  let body = '';
  for await (const part of request) body += part;
  if (body) Object.assign(control, JSON.parse(body));
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(counts));
});

console.log(JSON.stringify({ issuer }));
