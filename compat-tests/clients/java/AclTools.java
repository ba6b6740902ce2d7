import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.tools.AclCommand;

/**
 * kafka-acls in its usual forms. Writes a transcript: what was asked, and what came back; lines whose order means nothing are
 * sorted. The last line is "end". It leaves no entry behind that it has not found.
 *
 * usage: AclTools BOOTSTRAP
 */
public class AclTools {
    static String bootstrap;
    static Admin admin;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        list();
        // Before anybody else has an entry on the cluster: Kafka's own requests are anonymous, too.
        tool("--add", "--allow-principal", "User:ANONYMOUS", "--operation", "All", "--cluster");
        tool("--add", "--allow-principal", "User:ann", "--operation", "Read", "--topic", "orders");
        tool("--add", "--allow-principal", "User:ann", "--operation", "Read", "--topic", "orders");
        tool("--add", "--allow-principal", "User:ann", "--allow-principal", "User:CN=bob,O=b", "--allow-host", "10.0.0.1",
            "--allow-host", "::1", "--operation", "Read", "--operation", "Describe", "--topic", "orders", "--topic", "audit");
        tool("--add", "--deny-principal", "User:*", "--operation", "All", "--topic", "*");
        tool("--add", "--allow-principal", "User:ann", "--operation", "All", "--topic", "or", "--resource-pattern-type", "prefixed");
        tool("--add", "--allow-principal", "User:ann", "--operation", "Alter", "--cluster");
        tool("--add", "--allow-principal", "User:ann", "--producer", "--topic", "made", "--transactional-id", "t");
        tool("--add", "--allow-principal", "User:ann", "--producer", "--topic", "made", "--idempotent");
        tool("--add", "--allow-principal", "User:ann", "--consumer", "--topic", "read", "--group", "g",
            "--resource-pattern-type", "prefixed");
        tool("--add", "--allow-principal", "User:ann", "--operation", "CreateTokens", "--user-principal", "User:bob");
        tool("--add", "--allow-principal", "User:ann", "--operation", "Describe", "--delegation-token", "id");
        tool("--add", "--allow-principal", "ann", "--operation", "Read", "--topic", "orders");
        list();
        tool("--list", "--topic", "orders");
        tool("--list", "--topic", "orders", "--resource-pattern-type", "match");
        tool("--list", "--topic", "orders", "--resource-pattern-type", "any");
        tool("--list", "--topic", "or", "--resource-pattern-type", "prefixed");
        tool("--list", "--group", "g", "--resource-pattern-type", "match");
        tool("--list", "--principal", "User:ann", "--topic", "made");
        tool("--list", "--topic", "nothing");
        settle();
        tool("--remove", "--force", "--allow-principal", "User:ann", "--operation", "Read", "--topic", "orders");
        tool("--remove", "--force", "--deny-principal", "User:*", "--operation", "All", "--topic", "*");
        tool("--remove", "--force", "--topic", "orders", "--resource-pattern-type", "match");
        tool("--remove", "--force", "--allow-principal", "User:ann", "--producer", "--topic", "made", "--transactional-id", "t");
        list();
        tool("--remove", "--force", "--topic", "made");
        tool("--remove", "--force", "--topic", "audit");
        tool("--remove", "--force", "--topic", "read", "--resource-pattern-type", "prefixed");
        tool("--remove", "--force", "--group", "g", "--resource-pattern-type", "any");
        tool("--remove", "--force", "--user-principal", "User:bob");
        tool("--remove", "--force", "--delegation-token", "id");
        tool("--remove", "--force", "--allow-principal", "User:ann", "--operation", "Alter", "--cluster");
        tool("--remove", "--force", "--allow-principal", "User:ann", "--operation", "IdempotentWrite", "--cluster");
        list();
        tool("--remove", "--force", "--allow-principal", "User:ANONYMOUS", "--operation", "All", "--cluster");
        list();
        Transcript.end();
    }

    static void list() throws Exception {
        settle();
        tool("--list");
    }

    /** What Kafka has answered everybody can see a moment later. */
    static void settle() throws Exception {
        var mark = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "mark", PatternType.LITERAL),
            new AccessControlEntry("User:mark", "*", AclOperation.READ, AclPermissionType.ALLOW));
        admin.createAcls(List.of(mark)).all().get();
        while (admin.describeAcls(mark.toFilter()).values().get().isEmpty()) Thread.sleep(10);
        admin.deleteAcls(List.of(mark.toFilter())).all().get();
        while (!admin.describeAcls(mark.toFilter()).values().get().isEmpty()) Thread.sleep(10);
    }

    static void tool(String... args) {
        var said = Transcript.run(AclCommand::main, Transcript.join(List.of("--bootstrap-server", bootstrap), args));
        // The tool's own usage is not what is compared, nor what it shows when Kafka may not be ready to.
        boolean isList = args[0].equals("--list");
        Stream<String> lines = (said.out() + said.err()).lines().filter(line -> !line.matches("\\s*at .*"))
            .takeWhile(line -> !line.startsWith("Option ") && (isList || !line.startsWith("Current ACLs"))).map(String::strip).sorted();
        Transcript.tell("kafka-acls " + String.join(" ", args), said, lines.map(line -> line.replace(bootstrap, "BROKER")), Stream.empty());
    }
}
