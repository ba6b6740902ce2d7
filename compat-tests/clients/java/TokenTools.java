import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.security.token.delegation.DelegationToken;
import org.apache.kafka.common.utils.internals.Exit;
import org.apache.kafka.tools.DelegationTokenCommand;

/**
 * kafka-delegation-tokens in its usual forms, and log-ins with tokens. Writes a transcript: what was asked, and what came back;
 * ids, secrets and times have names in it. The last line is "end".
 *
 * usage: TokenTools.java BOOTSTRAP, where alice and bob log in with PLAIN, and alice may do everything
 */
public class TokenTools {
    static final PrintStream transcript = System.out;
    static final Map<String, String> names = new HashMap<>();
    static String bootstrap;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        Exit.setExitProcedure((code, message) -> {
            throw new IllegalStateException("exit " + code);
        });
        tool("alice", "--create", "--max-life-time-period", "-1", "--renewer-principal", "User:bob");
        DelegationToken first = newest("alice", 1);
        tool("alice", "--create", "--max-life-time-period", "60000");
        DelegationToken second = newest("alice", 2);
        tool("alice", "--create", "--max-life-time-period", "-1", "--owner-principal", "User:carol");
        newest("alice", 3);
        tool("alice", "--create", "--max-life-time-period", "-1", "--renewer-principal", "Group:bob");
        tool("bob", "--create", "--max-life-time-period", "-1", "--owner-principal", "User:carol");
        tool("alice", "--describe");
        tool("alice", "--describe", "--owner-principal", "User:carol");
        tool("bob", "--describe");
        tool("bob", "--describe", "--owner-principal", "User:carol");
        tool("bob", "--renew", "--renew-time-period", "-1", "--hmac", first.hmacAsBase64String());
        tool("bob", "--renew", "--renew-time-period", "-1", "--hmac", second.hmacAsBase64String());
        tool("bob", "--renew", "--renew-time-period", "1000", "--hmac", "AQID");
        tool("alice", "--expire", "--expiry-time-period", "3600000", "--hmac", first.hmacAsBase64String());

        String id = first.tokenInfo().tokenId(), secret = first.hmacAsBase64String();
        logIn("SCRAM-SHA-256", id, secret);
        logIn("SCRAM-SHA-512", id, secret);
        logIn("SCRAM-SHA-512", id, second.hmacAsBase64String());
        logIn("SCRAM-SHA-512", "nothing", secret);

        tool("bob", "--expire", "--expiry-time-period", "-1", "--hmac", secret);
        // What Kafka has answered everybody can see a moment later.
        newest("alice", 2);
        tool("alice", "--expire", "--expiry-time-period", "-1", "--hmac", secret);
        logIn("SCRAM-SHA-512", id, secret);
        transcript.println("end");
        System.exit(0);
    }

    static Map<String, Object> plain(String user) {
        return config("PLAIN", "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"" + user
            + "\" password=\"" + user + "-secret\";");
    }

    static Map<String, Object> config(String mechanism, String jaas) {
        return new HashMap<>(Map.of("bootstrap.servers", bootstrap, "security.protocol", "SASL_PLAINTEXT", "sasl.mechanism", mechanism,
            "sasl.jaas.config", jaas, "request.timeout.ms", "10000", "default.api.timeout.ms", "20000"));
    }

    /** Waits until so many tokens are seen, and gives the one that has no name yet, if there is one. */
    static DelegationToken newest(String user, int count) throws Exception {
        try (Admin admin = Admin.create(plain(user))) {
            List<DelegationToken> tokens;
            do {
                tokens = admin.describeDelegationToken().delegationTokens().get();
            } while (tokens.size() != count);
            DelegationToken found = null;
            for (DelegationToken token : tokens) {
                if (names.containsKey(token.tokenInfo().tokenId())) continue;
                int number = names.size() / 2 + 1;
                names.put(token.tokenInfo().tokenId(), "ID-" + number);
                names.put(token.hmacAsBase64String(), "SECRET-" + number);
                found = token;
            }
            return found;
        }
    }

    /** Logs in with a token, and asks for another. */
    static void logIn(String mechanism, String id, String secret) throws Exception {
        transcript.println("> log in with " + named(mechanism + " as " + id + ", " + secret));
        var config = config(mechanism, "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" + id
            + "\" password=\"" + secret + "\" tokenauth=\"true\";");
        try (Admin admin = Admin.create(config)) {
            transcript.println(admin.describeCluster().nodes().get().isEmpty() ? "no nodes" : "nodes");
            admin.createDelegationToken().delegationToken().get();
            transcript.println("made a token");
        } catch (ExecutionException refused) {
            transcript.println(named(refused.getCause().toString()));
        }
    }

    static void tool(String user, String... args) throws Exception {
        transcript.println(named("$ kafka-delegation-tokens as " + user + " " + String.join(" ", args)));
        Path config = Files.createTempFile("client", ".properties");
        Files.write(config, plain(user).entrySet().stream().map(entry -> entry.getKey() + "=" + entry.getValue()).toList());
        var written = new ByteArrayOutputStream();
        PrintStream out = System.out, err = System.err;
        String outcome = "done";
        var all = Stream.concat(Stream.of("--bootstrap-server", bootstrap, "--command-config", config.toString()), Arrays.stream(args));
        try (PrintStream both = new PrintStream(written, true)) {
            System.setOut(both);
            System.setErr(both);
            DelegationTokenCommand.main(all.toArray(String[]::new));
        } catch (IllegalStateException exit) {
            outcome = exit.getMessage();
        } finally {
            System.setOut(out);
            System.setErr(err);
            Files.delete(config);
        }
        // A token that was just made has no name yet.
        String said = written.toString().lines().filter(line -> !line.isBlank() && !line.matches("\\s*(at|\\.\\.\\.) .*"))
            .map(line -> args[0].equals("--create") ? line.replaceAll("[A-Za-z0-9+/]{86}==", "SECRET")
                .replaceAll("(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])", "ID") : named(line))
            .map(line -> line.replaceAll("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d", "TIME").strip().replaceAll(" +", " "))
            .sorted().collect(Collectors.joining("\n"));
        transcript.println(said.replace(bootstrap, "BROKER"));
        transcript.println(outcome);
    }

    static String named(String text) {
        for (var name : names.entrySet()) text = text.replace(name.getKey(), name.getValue());
        return text;
    }
}
