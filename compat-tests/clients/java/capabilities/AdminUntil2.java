import java.util.*;
import org.apache.kafka.clients.admin.*;

/** The admin client's calls that 3.0 has taken away or that have another shape since. */
@SuppressWarnings("deprecation")
final class AdminUntil2 {
    static void run() {
        Capability.of("admin electPreferredLeaders",
            () -> Capability.refused("ElectionNotNeededException",
                () -> Client.done(Client.admin.electPreferredLeaders(List.of(Client.first)).partitionResult(Client.first))));
        Capability.of("admin updateFeatures of one that Kafka has not", () -> Capability.refused("InvalidUpdateVersionException", () ->
            Client.done(Client.admin.updateFeatures(Map.of("no.such.feature", new FeatureUpdate((short) 1, false)), new UpdateFeaturesOptions()).all())));
    }

    private AdminUntil2() {}
}
