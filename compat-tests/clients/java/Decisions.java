import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.metrics.Metrics;
import org.apache.kafka.common.metrics.internals.PluginMetricsImpl;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.metadata.authorizer.StandardAcl;
import org.apache.kafka.metadata.authorizer.StandardAuthorizer;
import org.apache.kafka.server.authorizer.Action;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.authorizer.AuthorizationResult;

/**
 * Answers as Kafka's authorizer does. A line each, of words between tabs and with Kafka's codes:
 *
 *   begin SUPER_USERS ALLOW_EVERYONE                                    an authorizer without entries
 *   acl RESOURCE PATTERN NAME PRINCIPAL HOST OPERATION PERMISSION       one entry more
 *   may RESOURCE NAME PRINCIPAL HOST OPERATION                          answered with ALLOWED or DENIED
 *   any RESOURCE PRINCIPAL HOST OPERATION                               the same, of any resource of the type
 */
public class Decisions {
    public static void main(String[] args) throws Exception {
        StandardAuthorizer authorizer = new StandardAuthorizer();
        authorizer.withPluginMetrics(new PluginMetricsImpl(new Metrics(), Map.of()));
        authorizer.completeInitialLoad();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        StringBuilder answers = new StringBuilder();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split("\t", -1);
            switch (words[0]) {
                case "begin" -> {
                    Map<String, String> config = new HashMap<>();
                    config.put("super.users", words[1]);
                    config.put("allow.everyone.if.no.acl.found", words[2]);
                    authorizer.configure(config);
                    authorizer.loadSnapshot(Map.of());
                }
                case "acl" -> authorizer.addAcl(Uuid.randomUuid(), new StandardAcl(
                    ResourceType.fromCode(Byte.parseByte(words[1])), words[3],
                    PatternType.fromCode(Byte.parseByte(words[2])), words[4], words[5],
                    AclOperation.fromCode(Byte.parseByte(words[6])),
                    AclPermissionType.fromCode(Byte.parseByte(words[7]))));
                case "may" -> {
                    Action action = new Action(AclOperation.fromCode(Byte.parseByte(words[5])),
                        new ResourcePattern(ResourceType.fromCode(Byte.parseByte(words[1])), words[2], PatternType.LITERAL),
                        1, true, true);
                    answers.append(authorizer.authorize(of(words[3], words[4]), List.of(action)).get(0)).append('\n');
                }
                case "any" -> {
                    AuthorizationResult answer = authorizer.authorizeByResourceType(of(words[2], words[3]),
                        AclOperation.fromCode(Byte.parseByte(words[4])), ResourceType.fromCode(Byte.parseByte(words[1])));
                    answers.append(answer).append('\n');
                }
                default -> throw new IllegalArgumentException(line);
            }
        }
        System.out.print(answers);
    }

    private static AuthorizableRequestContext of(String principal, String host) throws Exception {
        String[] parts = principal.split(":", 2);
        KafkaPrincipal parsed = new KafkaPrincipal(parts[0], parts[1]);
        InetAddress address = InetAddress.getByName(host);
        return new AuthorizableRequestContext() {
            public String listenerName() { return "PLAINTEXT"; }
            public SecurityProtocol securityProtocol() { return SecurityProtocol.PLAINTEXT; }
            public KafkaPrincipal principal() { return parsed; }
            public InetAddress clientAddress() { return address; }
            public int requestType() { return 3; }
            public int requestVersion() { return 12; }
            public String clientId() { return "client"; }
            public int correlationId() { return 1; }
        };
    }
}
