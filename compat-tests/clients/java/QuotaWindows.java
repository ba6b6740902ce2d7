import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MeasurableStat;
import org.apache.kafka.common.metrics.MetricConfig;
import org.apache.kafka.common.metrics.Quota;
import org.apache.kafka.common.metrics.QuotaViolationException;
import org.apache.kafka.common.metrics.stats.Rate;
import org.apache.kafka.common.metrics.stats.TokenBucket;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.quota.QuotaUtils;

/**
 * What Kafka's own windows say to random sequences.
 *
 * A line `window samples seconds bound` begins one; `rate` and `tokens` follow, each with the time in ms, the amount, the
 * value after it and for how long a client would be throttled. It is always the same sequences.
 */
public class QuotaWindows {
    private static final int[][] WINDOWS = {{11, 1}, {11, 1}, {11, 1}, {2, 1}, {1, 1}, {5, 3}};

    public static void main(String[] args) {
        Random random = new Random(599);
        StringBuilder out = new StringBuilder();
        for (int round = 0; round < 18; round++) {
            int[] window = WINDOWS[round % WINDOWS.length];
            double bound = new double[] {1, 10, 0.25, 1000, 1048576}[random.nextInt(5)];
            out.append("window " + window[0] + " " + window[1] + " " + bound + "\n");
            MetricConfig config = new MetricConfig().samples(window[0])
                .timeWindow(window[1], TimeUnit.SECONDS).quota(new Quota(bound, true));
            long[] pauses = {0, 1, 7, 250, 999, 1000, 1001, 3000, 12345};
            int usual = 3 + random.nextInt(pauses.length - 2);
            MeasurableStat[] stats = {new Rate(), new TokenBucket()};
            long now = 1700000000000L + random.nextInt(5000);
            for (int step = 0; step < 40; step++) {
                now += pauses[random.nextInt(usual)];
                double amount = Math.rint(bound * random.nextInt(30)) / 8 * (random.nextInt(12) == 0 ? -1 : 1);
                for (MeasurableStat stat : stats) {
                    stat.record(config, amount, now);
                    double value = stat.measure(config, now);
                    out.append(stat instanceof Rate ? "rate " : "tokens ");
                    out.append(now + " " + amount + " " + value + " " + delay(stat, config, value, bound, now) + "\n");
                }
            }
        }
        System.out.print(out);
    }

    private static long delay(MeasurableStat stat, MetricConfig config, double value, double bound, long now) {
        if (stat instanceof TokenBucket) {
            // ControllerMutationQuotaManager.throttleTimeMs
            return value < 0 ? Math.round(-value / bound * 1000) : 0;
        }
        MetricName name = new MetricName("rate", "", "", java.util.Map.of());
        KafkaMetric metric = new KafkaMetric(new Object(), name, stat, config, Time.SYSTEM);
        return value > bound ? QuotaUtils.throttleTime(new QuotaViolationException(metric, value, bound), now) : 0;
    }
}
