import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;

/** The admin client's calls that 4.0 has taken away. */
@SuppressWarnings("deprecation")
final class AdminUntil3 {
    static void run() {
        Capability.of("admin alterConfigs", () -> {
            String topic = Client.newTopic("altered", 1);
            var config = new Config(List.of(new ConfigEntry("retention.ms", "5000")));
            Client.done(Client.admin.alterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), config)).all());
            Capability.until("altered", () -> "5000".equals(Client.configOf(ConfigResource.Type.TOPIC, topic, "retention.ms")));
        });
        Capability.of("admin describeTopics", () -> {
            var found = Client.done(Client.admin.describeTopics(List.of(Client.topic)).all()).get(Client.topic);
            Capability.same(found.partitions().size(), 2);
        });
    }

    private AdminUntil3() {}
}
