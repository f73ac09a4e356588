// A mail server on loopback: smtp-server, configured for tests. Node gets this file on its standard input (so that
// imports resolve in the folder with node_modules) and the settings, an smtpSettings, as its only argument. It prints
// its ports, and then a line for each login and each mail.
import { SMTPServer } from 'smtp-server';

const settings = JSON.parse(process.argv.at(-1));
const say = (event) => console.log(JSON.stringify(event));

const listen = (name, options) => new Promise((resolve, reject) => {
  const server = new SMTPServer({
    key: settings.key,
    cert: settings.cert,
    authMethods: ['PLAIN', 'LOGIN', 'CRAM-MD5'],
    onAuth(auth, session, done) {
      const known = auth.username === settings.username &&
        (auth.method === 'CRAM-MD5' ? auth.validatePassword(settings.password) : auth.password === settings.password);
      say({ login: { port: name, method: auth.method, secure: session.secure, accepted: known } });
      if (known) {
        done(null, { user: auth.username });
      } else {
        done(new Error('Authentication credentials invalid'));
      }
    },
    onMailFrom(address, session, done) {
      say({ mail: { port: name } });
      done();
    },
    logger: false,
    ...options,
  });
  server.on('error', reject); // a client that goes away is one, too
  server.server.once('listening', () => {
    server.removeAllListeners('error');
    server.on('error', () => {});
    resolve(server.server.address().port);
  });
  server.listen(0, '127.0.0.1');
});

say({
  ports: {
    starttls: await listen('starttls', {}),
    implicit: await listen('implicit', { secure: true }),
    // neither encrypts: on one passwords may be shown all the same
    plain: await listen('plain', { disabledCommands: ['STARTTLS'], allowInsecureAuth: true }),
  },
});
