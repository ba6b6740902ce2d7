// What franz-go can do, its kadm included. usage: franz-go BOOTSTRAP
package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"ottla/compat-tests/across"
	"ottla/compat-tests/capability"
)

var (
	ctx       = context.Background()
	bootstrap []string
	seeds     kgo.Opt
	admin     *kadm.Client
	now       = time.Now().Add(-time.Minute).Truncate(time.Millisecond) // old records are deleted
	topic     string                                                    // of 2 partitions with 10 records each, one every millisecond from now on, in turn
)

func client(options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append([]kgo.Opt{seeds, kgo.FetchMaxWait(50 * time.Millisecond)}, options...)...)
	capability.Must(err)
	return made
}

// newTopic gives a topic that the broker knows: Kafka's controller answers before that.
func newTopic(name string, partitions int32, configs ...string) string {
	made := capability.Unique(name)
	settings := map[string]*string{}
	for index := 0; index < len(configs); index += 2 {
		settings[configs[index]] = &configs[index+1]
	}
	created, err := admin.CreateTopics(ctx, partitions, 1, settings, made)
	capability.Must(err)
	capability.Must(created.Error())
	capability.Must(capability.Until("the topic is known", func() bool {
		known, err := admin.ListTopics(ctx, made)
		if err != nil || known[made].Err != nil || len(known[made].Partitions) != int(partitions) {
			return false
		}
		// It tells who leads a partition before it leads it.
		ends, err := admin.ListEndOffsets(ctx, made)
		return err == nil && ends.Error() == nil
	}))
	return made
}

func plain(topic string, count, partitions int) []*kgo.Record {
	var records []*kgo.Record
	for number := range count {
		value := fmt.Appendf(nil, "value-%0100d", number)
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(number % partitions), Key: fmt.Appendf(nil, "key-%d", number), Value: value})
	}
	return records
}

func produce(records []*kgo.Record, options ...kgo.Opt) error {
	producer := client(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	defer producer.Close()
	return producer.ProduceSync(ctx, records...).FirstErr()
}

// take gives as many records, or an error when there are more or less.
func take(consumer *kgo.Client, count int) ([]*kgo.Record, error) {
	deadline, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < count {
		fetches := consumer.PollFetches(deadline)
		if err := fetches.Err(); err != nil {
			return records, fmt.Errorf("%d of %d: %w", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, capability.Same(len(records), count)
}

func readAll(topic string, count int, options ...kgo.Opt) ([]*kgo.Record, error) {
	consumer := client(append(options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer consumer.Close()
	return take(consumer, count)
}

// autoCommit: whether the members that are made from now on commit by themselves.
var autoCommit = false

func member(group, topic string, options ...kgo.Opt) *kgo.Client {
	if !autoCommit {
		options = append(options, kgo.DisableAutoCommit())
	}
	return client(append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(300 * time.Millisecond)}, options...)...)
}

// reading gives a member of the group that has read all 20 records of the topic.
func reading(group string, options ...kgo.Opt) (*kgo.Client, error) {
	consumer := member(group, topic, options...)
	_, err := take(consumer, 20)
	return consumer, err
}

// closedGroup gives a group without members that has committed offset 10 in both partitions.
func closedGroup() string {
	group := capability.Unique("closed")
	consumer, err := reading(group)
	capability.Must(err)
	capability.Must(consumer.CommitUncommittedOffsets(ctx))
	consumer.Close()
	return group
}

func committed(group string) map[int32]int64 {
	found, err := admin.FetchOffsets(ctx, group)
	capability.Must(err)
	offsets := map[int32]int64{}
	found.Each(func(response kadm.OffsetResponse) { offsets[response.Partition] = response.At })
	return offsets
}

func main() {
	var asked []string
	bootstrap, asked = across.Arguments()
	seeds = kgo.SeedBrokers(bootstrap...)
	admin = kadm.NewClient(client(kgo.MetadataMinAge(10 * time.Millisecond))) // it remembers topics for that long, deleted ones too
	if asked != nil {
		across.Run(acrossClients{}, asked)
		return
	}
	topic = newTopic("franz-go", 2)
	var records []*kgo.Record
	for number := range 20 {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(number % 2), Timestamp: now.Add(time.Duration(number) * time.Millisecond),
			Key: fmt.Appendf(nil, "key-%d", number), Value: fmt.Appendf(nil, "value-%d", number)})
	}
	capability.Must(produce(records))

	recordsAsTheyWere()
	positions()
	groups()
	commits()
	transactions()
	adminCalls()
	capability.AllPublicCalls("admin", reflect.TypeFor[*kadm.Client](), "Close", "SetTimeoutMillis")
}

func recordsAsTheyWere() {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for index, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		capability.Of("produce "+name, func() error {
			topic := newTopic("codec", 2)
			records := plain(topic, 100, 2)
			if err := produce(records, kgo.ProducerBatchCompression(codecs[index])); err != nil {
				return err
			}
			read, err := readAll(topic, 100)
			if err != nil {
				return err
			}
			seen := map[string]bool{}
			for _, record := range read {
				seen[string(record.Value)] = true
			}
			return capability.Same(len(seen), 100)
		})
	}
	roundTrip := func(name string, records []*kgo.Record, check func([]*kgo.Record) error, configs ...string) {
		capability.Of(name, func() error {
			topic := newTopic("records", 1, configs...)
			for _, record := range records {
				record.Topic = topic
			}
			if err := produce(records, kgo.ProducerBatchMaxBytes(5_000_000)); err != nil {
				return err
			}
			read, err := readAll(topic, len(records))
			if err != nil {
				return err
			}
			return check(read)
		})
	}
	value := []byte("v")
	roundTrip("produce idempotent", []*kgo.Record{{Value: value}}, func([]*kgo.Record) error { return nil })
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck()} {
		capability.Of("produce acks="+name, func() error {
			topic := newTopic("acks", 1)
			if err := produce(plain(topic, 1, 1)); err != nil {
				return err
			}
			if err := produce(plain(topic, 10, 1), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()); err != nil {
				return err
			}
			_, err := readAll(topic, 11)
			return err
		})
	}
	capability.Of("produce to a topic that is created by it", func() error {
		topic := capability.Unique("automatic")
		producer := client(kgo.AllowAutoTopicCreation())
		defer producer.Close()
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: value}).FirstErr(); err != nil {
			return err
		}
		_, err := readAll(topic, 1)
		return err
	})
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "null"}, {Key: "empty", Value: []byte{}}}
	roundTrip("headers", []*kgo.Record{{Value: value, Headers: headers}}, func(read []*kgo.Record) error {
		return capability.Same(read[0].Headers, headers)
	})
	roundTrip("tombstones", []*kgo.Record{{Key: value, Value: value}, {Key: value}, {Key: value, Value: []byte{}}}, func(read []*kgo.Record) error {
		return capability.Same([][]byte{read[0].Value, read[1].Value, read[2].Value}, [][]byte{value, nil, {}})
	}, "cleanup.policy", "compact")
	roundTrip("empty and null keys", []*kgo.Record{{Value: value}, {Key: []byte{}, Value: value}}, func(read []*kgo.Record) error {
		return capability.Same([][]byte{read[0].Key, read[1].Key}, [][]byte{nil, {}})
	})
	large := make([]byte, 4<<20)
	for index := range large {
		large[index] = byte(index * index >> 3)
	}
	roundTrip("large messages", []*kgo.Record{{Value: large}}, func(read []*kgo.Record) error {
		return capability.Check(slices.Equal(read[0].Value, large), "another value")
	}, "max.message.bytes", "5000000")
	capability.Of("a message that is too large is refused", func() error {
		topic := newTopic("large", 1, "max.message.bytes", "1000")
		return capability.Refused(produce([]*kgo.Record{{Topic: topic, Value: large[:2000]}}), kerr.MessageTooLarge)
	})
	roundTrip("timestamps: of the producer", []*kgo.Record{{Value: value, Timestamp: now}}, func(read []*kgo.Record) error {
		return capability.Same(read[0].Timestamp.UnixMilli(), now.UnixMilli())
	})
	roundTrip("timestamps: of the log", []*kgo.Record{{Value: value, Timestamp: now}}, func(read []*kgo.Record) error {
		return capability.Check(read[0].Attrs.TimestampType() == 1 && read[0].Timestamp.After(now), read[0])
	}, "message.timestamp.type", "LogAppendTime")
}

func positions() {
	at := func(offset kgo.Offset) kgo.Opt {
		return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: offset}})
	}
	first := func(name string, offset kgo.Offset, expected int64, count int) {
		capability.Of(name, func() error {
			consumer := client(at(offset))
			defer consumer.Close()
			read, err := take(consumer, count)
			if err != nil {
				return err
			}
			return capability.Same(read[0].Offset, expected)
		})
	}
	first("consume from an offset", kgo.NewOffset().At(7), 7, 3)
	first("consume from a time", kgo.NewOffset().AfterMilli(now.UnixMilli()+5), 3, 7)
	first("consume from before the end", kgo.NewOffset().AtEnd().Relative(-2), 8, 2)
	capability.Of("seek", func() error {
		consumer := client(at(kgo.NewOffset().AtStart()))
		defer consumer.Close()
		if _, err := take(consumer, 10); err != nil {
			return err
		}
		consumer.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 7}}})
		read, err := take(consumer, 3)
		if err != nil {
			return err
		}
		return capability.Same(read[0].Offset, 7)
	})
	capability.Of("pause and resume", func() error {
		consumer := client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		defer consumer.Close()
		second := map[string][]int32{topic: {1}}
		consumer.PauseFetchPartitions(second)
		if _, err := take(consumer, 10); err != nil {
			return err
		}
		consumer.ResumeFetchPartitions(second)
		_, err := take(consumer, 10)
		return err
	})
	capability.Of("client ping", func() error { return client().Ping(ctx) })
}

// share has two members share a topic's partitions; the first takes all when the second has gone.
func share(options ...kgo.Opt) error {
	topic, group := newTopic("shared", 4), capability.Unique("group")
	if err := produce(plain(topic, 40, 4)); err != nil {
		return err
	}
	counts := make(chan map[string]int, 1000)
	run := func(name string, stop chan struct{}, stopped chan struct{}) {
		owned := map[int32]bool{}
		report := func() { counts <- map[string]int{name: len(owned)} }
		change := func(to bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
				for _, partition := range partitions[topic] {
					if to {
						owned[partition] = true
					} else {
						delete(owned, partition)
					}
				}
				report()
			}
		}
		consumer := member(group, topic, append(options, kgo.OnPartitionsAssigned(change(true)),
			kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))...)
		polling, cancel := context.WithCancel(ctx)
		go func() { <-stop; cancel() }()
		for polling.Err() == nil {
			consumer.PollFetches(polling)
		}
		consumer.Close()
		close(stopped)
	}
	stopFirst, stopSecond := make(chan struct{}), make(chan struct{})
	firstStopped, secondStopped := make(chan struct{}), make(chan struct{})
	go run("first", stopFirst, firstStopped)
	go run("second", stopSecond, secondStopped)
	owned := map[string]int{}
	wait := func(what string, first, second int) error {
		return capability.Until(what, func() bool {
			for {
				select {
				case change := <-counts:
					for name, count := range change {
						owned[name] = count
					}
				default:
					return owned["first"] == first && owned["second"] == second
				}
			}
		})
	}
	if err := wait("two each", 2, 2); err != nil {
		return err
	}
	close(stopSecond)
	<-secondStopped
	err := wait("all for the one that is left", 4, 0)
	close(stopFirst)
	<-firstStopped
	return err
}

func groups() {
	balancers := []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.RoundRobinBalancer(), kgo.StickyBalancer(), kgo.CooperativeStickyBalancer()}
	for index, name := range []string{"range", "roundrobin", "sticky", "cooperative-sticky"} {
		capability.Of("group "+name, func() error { return share(kgo.Balancers(balancers[index])) })
	}
	for name, balancer := range map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "uniform": kgo.StickyBalancer()} {
		capability.Of("group of KIP-848, "+name, func() error { return share(kgo.ServerSideBalancer(), kgo.Balancers(balancer)) })
	}
	capability.Of("group of static members", func() error {
		group := capability.Unique("static")
		for range 2 {
			consumer, err := reading(group, kgo.InstanceID("one"))
			if err != nil {
				return err
			}
			consumer.Close()
		}
		described, err := admin.DescribeGroups(ctx, group)
		if err != nil {
			return err
		}
		return capability.Check(len(described[group].Members) == 1 && *described[group].Members[0].InstanceID == "one", described)
	})
	for suffix, options := range map[string][]kgo.Opt{"": nil, ", KIP-848": {kgo.ServerSideBalancer()}} {
		capability.Of("subscribe by pattern"+suffix, func() error {
			prefix := capability.Unique("pattern")
			for _, end := range []string{"-a", "-b"} {
				capability.Must(capability.Failure(create(prefix + end)))
				capability.Must(produce(plain(prefix+end, 5, 1)))
			}
			consumer := member(capability.Unique("group"), "^"+prefix+"-.*", append(options, kgo.ConsumeRegex(), kgo.MetadataMaxAge(500*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))...)
			defer consumer.Close()
			if _, err := take(consumer, 10); err != nil {
				return err
			}
			// A topic that comes later is found, too.
			capability.Must(consumer.CommitUncommittedOffsets(ctx))
			capability.Must(capability.Failure(create(prefix + "-c")))
			capability.Must(produce(plain(prefix+"-c", 5, 1)))
			_, err := take(consumer, 5)
			return err
		})
	}
	capability.Of("share group", func() error {
		_, err := shareGroup()
		return err
	})
}

func create(topic string) kadm.CreateTopicResponse {
	created, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
	capability.Must(err)
	return created
}

func commits() {
	first := func(offset int64, metadata string) kadm.Offsets {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: offset, LeaderEpoch: -1, Metadata: metadata})
		return offsets
	}
	form := func(name string, expected map[int32]int64, commit func(group string, consumer *kgo.Client) error, options ...kgo.Opt) {
		capability.Of("commit "+name, func() error {
			group := capability.Unique("commit")
			consumer, err := reading(group, options...)
			if err != nil {
				return err
			}
			defer consumer.Close()
			if err := commit(group, consumer); err != nil {
				return err
			}
			return capability.Same(committed(group), expected)
		})
	}
	all := map[int32]int64{0: 10, 1: 10}
	form("synchronous", all, func(_ string, consumer *kgo.Client) error { return consumer.CommitUncommittedOffsets(ctx) })
	form("asynchronous", all, func(_ string, consumer *kgo.Client) error {
		done := make(chan error, 1)
		consumer.CommitOffsets(ctx, consumer.UncommittedOffsets(), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) { done <- err })
		return <-done
	})
	form("of one message", map[int32]int64{0: 5}, func(_ string, consumer *kgo.Client) error {
		return consumer.CommitRecords(ctx, &kgo.Record{Topic: topic, Partition: 0, Offset: 4, LeaderEpoch: -1})
	})
	autoCommit = true
	form("automatic", all, func(group string, consumer *kgo.Client) error {
		consumer.PollRecords(nil, 1) // what has been polled before is committed
		return capability.Until("committed", func() bool { return reflect.DeepEqual(committed(group), all) })
	}, kgo.AutoCommitInterval(100*time.Millisecond))
	form("of marked records", map[int32]int64{0: 5}, func(_ string, consumer *kgo.Client) error {
		consumer.MarkCommitRecords(&kgo.Record{Topic: topic, Partition: 0, Offset: 4})
		return consumer.CommitMarkedOffsets(ctx)
	}, kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Hour))
	autoCommit = false
	capability.Of("commit with metadata, without joining", func() error {
		group := capability.Unique("commit")
		if err := admin.CommitAllOffsets(ctx, group, first(3, "mine \u00e9")); err != nil {
			return err
		}
		found, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		offset, _ := found.Lookup(topic, 0)
		return capability.Check(offset.At == 3 && offset.Metadata == "mine \u00e9", offset)
	})
	capability.Of("a group goes on where it has committed", func() error {
		group := closedGroup()
		if err := admin.CommitAllOffsets(ctx, group, first(7, "")); err != nil {
			return err
		}
		consumer := member(group, topic)
		defer consumer.Close()
		read, err := take(consumer, 3)
		if err != nil {
			return err
		}
		return capability.Same(read[0].Offset, 7)
	})
}

func transactions() {
	named := func(id string, options ...kgo.Opt) *kgo.Client {
		return client(append(options, kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RetryTimeout(10*time.Second))...)
	}
	transactional := func() *kgo.Client { return named(capability.Unique("transaction")) }
	begin := func(producer *kgo.Client, topic, value string) error {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		deadline, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return producer.ProduceSync(deadline, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
	}
	one := func(producer *kgo.Client, topic, value string, end kgo.TransactionEndTry) error {
		if err := begin(producer, topic, value); err != nil {
			return err
		}
		return producer.EndTransaction(ctx, end)
	}
	readCommitted := func(topic string) error {
		read, err := readAll(topic, 1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if err != nil {
			return err
		}
		return capability.Same(string(read[0].Value), "committed")
	}
	capability.Of("transaction committed", func() error {
		topic, producer := newTopic("transaction", 1), transactional()
		defer producer.Close()
		if err := one(producer, topic, "committed", kgo.TryCommit); err != nil {
			return err
		}
		return readCommitted(topic)
	})
	capability.Of("transaction aborted", func() error {
		topic, producer := newTopic("transaction", 1), transactional()
		defer producer.Close()
		if err := one(producer, topic, "aborted", kgo.TryAbort); err != nil {
			return err
		}
		if err := one(producer, topic, "committed", kgo.TryCommit); err != nil {
			return err
		}
		return readCommitted(topic)
	})
	capability.Of("transaction with offsets", func() error {
		group := capability.Unique("group")
		session, err := kgo.NewGroupTransactSession(seeds, kgo.TransactionalID(capability.Unique("transaction")), kgo.ConsumerGroup(group),
			kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond),
			kgo.RetryTimeout(10*time.Second))
		if err != nil {
			return err
		}
		defer session.Close()
		if err := session.Begin(); err != nil {
			return err
		}
		deadline, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for count := 0; count < 20; {
			fetches := session.PollFetches(deadline)
			if err := fetches.Err(); err != nil {
				return err
			}
			count += fetches.NumRecords()
		}
		if done, err := session.End(deadline, kgo.TryCommit); err != nil || !done {
			return fmt.Errorf("committed: %v, %w", done, err)
		}
		return capability.Until("committed", func() bool { return reflect.DeepEqual(committed(group), map[int32]int64{0: 10, 1: 10}) })
	})
	capability.Of("transaction read-process-write", func() error {
		group, made := capability.Unique("group"), newTopic("transaction", 1)
		session, err := kgo.NewGroupTransactSession(seeds, kgo.TransactionalID(capability.Unique("transaction")), kgo.ConsumerGroup(group),
			kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond),
			kgo.RequireStableFetchOffsets(), kgo.RetryTimeout(10*time.Second))
		if err != nil {
			return err
		}
		defer session.Close()
		deadline, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		// What an aborted one has read is read again.
		process := func(prefix string, end kgo.TransactionEndTry) ([]string, error) {
			if err := session.Begin(); err != nil {
				return nil, err
			}
			var copies []string
			for len(copies) < 20 {
				fetches := session.PollFetches(deadline)
				if err := fetches.Err(); err != nil {
					return nil, err
				}
				for _, record := range fetches.Records() {
					copies = append(copies, prefix+string(record.Value))
					session.Produce(deadline, &kgo.Record{Topic: made, Value: []byte(prefix + string(record.Value))}, nil)
				}
			}
			done, err := session.End(deadline, end)
			if err == nil && done != (end == kgo.TryCommit) {
				err = fmt.Errorf("%q is committed: %v", prefix, done)
			}
			return copies, err
		}
		if _, err := process("aborted ", kgo.TryAbort); err != nil {
			return err
		}
		if err := capability.Same(len(committed(group)), 0); err != nil {
			return err
		}
		copies, err := process("committed ", kgo.TryCommit)
		if err != nil {
			return err
		}
		read, err := readAll(made, 20, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if err != nil {
			return err
		}
		var values []string
		for _, record := range read {
			values = append(values, string(record.Value))
		}
		slices.Sort(values)
		slices.Sort(copies)
		if err := capability.Same(values, copies); err != nil {
			return err
		}
		return capability.Same(committed(group), map[int32]int64{0: 10, 1: 10})
	})
	capability.Of("transaction of a zombie refused", func() error {
		id, topic := capability.Unique("transaction"), newTopic("transaction", 1)
		zombie, successor := named(id), named(id)
		defer zombie.Close()
		defer successor.Close()
		if err := begin(zombie, topic, "zombie"); err != nil {
			return err
		}
		if err := one(successor, topic, "committed", kgo.TryCommit); err != nil {
			return err
		}
		err := zombie.EndTransaction(ctx, kgo.TryCommit)
		if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
			return fmt.Errorf("%v is no word of a fence", err)
		}
		return readCommitted(topic)
	})
	capability.Of("transaction timed out", func() error {
		topic, producer := newTopic("transaction", 1), named(capability.Unique("transaction"), kgo.TransactionTimeout(time.Second))
		defer producer.Close()
		if err := begin(producer, topic, "late"); err != nil {
			return err
		}
		if err := produce([]*kgo.Record{{Topic: topic, Value: []byte("committed")}}); err != nil {
			return err
		}
		if err := readCommitted(topic); err != nil {
			return err
		}
		return capability.Check(producer.EndTransaction(ctx, kgo.TryCommit) != nil, "committed")
	})
}
