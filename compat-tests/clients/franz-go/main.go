// Create a topic, produce with each compression, consume in a group, commit, describe.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const topic, group = "smoke", "smokers"

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	seeds := kgo.SeedBrokers(os.Args[1])

	client, err := kgo.NewClient(seeds)
	check(err)
	admin := kadm.NewClient(client)
	created, err := admin.CreateTopics(ctx, 2, 1, nil, topic)
	check(err)
	check(created.Error())

	expected := map[string]bool{}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		producer, err := kgo.NewClient(seeds, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		check(err)
		for number := 0; number < 20; number++ {
			value := fmt.Sprintf("%s-%d", name, number)
			expected[value] = true
			check(producer.ProduceSync(ctx, &kgo.Record{
				Topic: topic, Partition: int32(number % 2), Key: []byte(name),
				Value:   []byte(strings.Repeat(value+" ", 20)),
				Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(name)}},
			}).FirstErr())
		}
		producer.Close()
	}

	consumer, err := kgo.NewClient(seeds, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	check(err)
	seen, count, headers := map[string]bool{}, 0, true
	for count < 100 {
		fetches := consumer.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			seen[strings.Fields(string(record.Value))[0]] = true
			headers = headers && len(record.Headers) == 1 && string(record.Headers[0].Value) == string(record.Key)
			count++
		})
	}
	check(consumer.CommitUncommittedOffsets(ctx))
	for value := range expected {
		if !seen[value] {
			check(fmt.Errorf("%s is missing", value))
		}
	}

	described, err := admin.DescribeGroups(ctx, group)
	check(err)
	committed, err := admin.FetchOffsets(ctx, group)
	check(err)
	first, _ := committed.Lookup(topic, 0)
	second, _ := committed.Lookup(topic, 1)
	fmt.Printf("count=%d headers_kept=%v state=%s members=%d committed=%d,%d\n",
		count, headers, described[group].State, len(described[group].Members), first.At, second.At)
	consumer.Close()
}
