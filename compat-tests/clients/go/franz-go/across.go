package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"ottla/compat-tests/across"
)

type acrossClients struct{}

func (acrossClients) Write(topic, codec string, baseMs int64) error {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	var records []*kgo.Record
	for index, record := range across.Records {
		made := &kgo.Record{Topic: topic, Key: record.Key, Value: record.Value, Timestamp: time.UnixMilli(baseMs + int64(index))}
		for _, header := range record.Headers {
			made.Headers = append(made.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		records = append(records, made)
	}
	return produce(records, kgo.ProducerBatchCompression(codecs[codec]), kgo.ProducerLinger(50*time.Millisecond))
}

func (acrossClients) Read(topic string, count int) error {
	read, err := readAll(topic, count)
	for _, record := range read {
		told := across.Record{Key: record.Key, Value: record.Value}
		for _, header := range record.Headers {
			told.Headers = append(told.Headers, across.Header{Name: header.Key, Value: header.Value})
		}
		across.Tell(record.Topic, record.Offset, record.Timestamp.UnixMilli(), told)
	}
	return err
}

func (acrossClients) Member(topic, group, protocol string, stop chan struct{}) error {
	options := []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}
	if protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	consumer := member(group, topic, options...)
	polling, cancel := context.WithCancel(ctx)
	go func() { <-stop; cancel() }()
	for polling.Err() == nil {
		consumer.PollFetches(polling)
	}
	consumer.Close()
	return nil
}
