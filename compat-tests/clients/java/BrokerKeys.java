import java.lang.reflect.Field;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.ConfigKey;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.DynamicBrokerConfig;
import org.apache.kafka.server.config.DynamicConfig;

/**
 * Every key of Kafka's broker, one a line: name, type, update mode, rule, default.
 *
 * The form is that of broker/src/config/kafka_keys.txt; `-` is null or none.
 */
public class BrokerKeys {
    public static void main(String[] args) throws Exception {
        Map<String, String> modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        Map<String, String> lines = new TreeMap<>();
        for (ConfigKey key : AbstractKafkaConfig.CONFIG_DEF.configKeys().values()) {
            String mode = modes.getOrDefault(key.name, "read-only") + (key.internalConfig ? ",internal" : "");
            lines.put(key.name, line(key, mode));
        }
        // Quotas for which Kafka's file has no key.
        for (ConfigKey key : DynamicConfig.Broker.configKeys().values()) {
            lines.putIfAbsent(key.name, line(key, "dynamic-only"));
        }
        lines.values().forEach(System.out::println);
    }

    private static String line(ConfigKey key, String mode) throws Exception {
        Object value = key.defaultValue == ConfigDef.NO_DEFAULT_VALUE ? null : key.defaultValue;
        String text = value == null ? "-" : ConfigDef.convertToString(value, key.type);
        return String.join(" ", key.name, key.type.name(), mode, rule(key.validator), text).stripTrailing();
    }

    private static String rule(ConfigDef.Validator validator) throws Exception {
        if (validator instanceof ConfigDef.ValidList) {
            List<?> values = (List<?>) field(field(validator, "validString"), "validStrings");
            String empty = (boolean) field(validator, "isEmptyAllowed") ? "" : ",not-empty";
            return (values.isEmpty() ? "set" : "set-of:" + String.join("|", values.toArray(new String[0]))) + empty;
        }
        String text = String.valueOf(validator).replace(",...,", "..").replace(",...", "..").replace(" or ", ",or=");
        text = text.replace("(case insensitive) ", "any-case:").replace("[", "").replace("]", "").replace(", ", "|");
        return validator == null ? "-" : text.replace(' ', '-');
    }

    private static Object field(Object object, String name) throws Exception {
        Field field = object.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field.get(object);
    }
}
