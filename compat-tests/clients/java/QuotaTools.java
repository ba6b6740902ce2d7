import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.tools.ConfigCommand;

/**
 * kafka-configs with the quotas of users, clients and addresses, and a producer that is held to one. Writes a transcript:
 * what was asked, and what came back. The last line is "end". It leaves no quota behind.
 *
 * usage: QuotaTools BOOTSTRAP
 */
public class QuotaTools {
    static final String[][] ENTITIES = {
        {"--entity-type", "users", "--entity-name", "ann"},
        {"--entity-type", "users", "--entity-default"},
        {"--entity-type", "users", "--entity-name", "ann", "--entity-type", "clients", "--entity-name", "app"},
        {"--entity-type", "clients", "--entity-default"},
    };
    static final String[][] ADDRESSES = {
        {"--entity-type", "ips", "--entity-name", "192.0.2.7"},
        {"--entity-type", "ips", "--entity-default"},
    };
    static String bootstrap;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        for (String[] entity : ENTITIES) {
            configs(entity, "--alter", "--add-config", "producer_byte_rate=1048576,request_percentage=150.5");
            configs(entity, "--alter", "--add-config", "consumer_byte_rate=2048", "--delete-config", "request_percentage");
            configs(entity, "--describe");
        }
        for (String[] entity : ADDRESSES) {
            configs(entity, "--alter", "--add-config", "connection_creation_rate=1000");
        }
        for (String type : List.of("users", "clients", "ips")) configs(new String[] {"--entity-type", type}, "--describe");
        configs(new String[] {"--entity-type", "users", "--entity-type", "clients"}, "--describe");
        refusals();
        for (String[] entity : ENTITIES) configs(entity, "--alter", "--delete-config", "producer_byte_rate,consumer_byte_rate");
        for (String[] entity : ADDRESSES) configs(entity, "--alter", "--delete-config", "connection_creation_rate");
        configs(new String[] {"--entity-type", "users"}, "--describe");
        produce();
        Transcript.end();
    }

    static void refusals() throws Exception {
        configs(ENTITIES[0], "--alter", "--add-config", "producer_byte_rate=0");
        configs(ENTITIES[0], "--alter", "--add-config", "connection_creation_rate=5");
        configs(ENTITIES[0], "--alter", "--add-config", "no_such=5");
        configs(ADDRESSES[0], "--alter", "--add-config", "producer_byte_rate=5");
        configs(new String[] {"--entity-type", "ips", "--entity-name", "no such host"}, "--alter", "--add-config", "connection_creation_rate=5");
    }

    /**
     * A producer that may send 200,000 bytes a second. At the start it may send a window's worth at once, so the first seconds
     * do not count.
     */
    static void produce() throws Exception {
        final int rate = 200_000, size = 10_000;
        final double unmeasured = 2, seconds = 3;
        String[] entity = {"--entity-type", "clients", "--entity-name", "limited"};
        configs(entity, "--alter", "--add-config", "producer_byte_rate=" + rate);
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
             var producer = new KafkaProducer<>(Map.<String, Object>of("bootstrap.servers", bootstrap, "client.id", "limited"),
                 new StringSerializer(), new ByteArraySerializer())) {
            admin.createTopics(List.of(new NewTopic("limited", 1, (short) 1))).all().get();
            long began = System.nanoTime(), sent = 0;
            double since;
            while ((since = (System.nanoTime() - began) / 1e9) < unmeasured + seconds) {
                producer.send(new ProducerRecord<>("limited", new byte[size])).get();
                if (since >= unmeasured) sent += size;
            }
            double held = sent / (since - unmeasured) / rate;
            Transcript.out.println("> a producer of " + rate + " bytes a second");
            Transcript.out.println(held > 0.8 && held < 1.2 ? "is held to it" : "sends " + held + " times that");
        }
        configs(entity, "--alter", "--delete-config", "producer_byte_rate");
    }

    static void configs(String[] entity, String... args) throws Exception {
        String[] all = Transcript.join(List.of(entity), args);
        var said = Transcript.run(ConfigCommand::main, Transcript.join(List.of("--bootstrap-server", bootstrap), all));
        // Entities and their settings are in no order.
        Transcript.tell("kafka-configs " + String.join(" ", all), said, said.lines().map(QuotaTools::settings).sorted(),
            said.errors().limit(1).map(line -> line.replace(bootstrap, "BROKER")));
    }

    static String settings(String line) {
        int are = line.indexOf(" are ");
        if (are < 0) return line;
        String[] settings = line.substring(are + 5).split(", ");
        Arrays.sort(settings);
        return line.substring(0, are + 5) + String.join(", ", settings);
    }
}
