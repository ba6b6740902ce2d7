package main

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"

	"ottla/compat-tests/across"
)

type acrossClients struct{}

func (acrossClients) Write(topic, codec string, baseMs int64) error {
	codecs := map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	var messages []kafka.Message
	for index, record := range across.Records {
		message := kafka.Message{Key: record.Key, Value: record.Value, Time: time.UnixMilli(baseMs + int64(index))}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
		messages = append(messages, message)
	}
	return write(topic, messages, func(writer *kafka.Writer) { writer.Compression = codecs[codec] })
}

func (acrossClients) Read(topic string, count int) error {
	messages, err := readAll(topic, count)
	for _, message := range messages {
		told := across.Record{Key: message.Key, Value: message.Value}
		for _, header := range message.Headers {
			told.Headers = append(told.Headers, across.Header{Name: header.Key, Value: header.Value})
		}
		across.Tell(message.Topic, message.Offset, message.Time.UnixMilli(), told)
	}
	return err
}

func (acrossClients) Member(topic, group, _ string, stop chan struct{}) error {
	joined := reader(func(config *kafka.ReaderConfig) {
		config.GroupID, config.GroupTopics, config.GroupBalancers = group, []string{topic}, []kafka.GroupBalancer{kafka.RangeGroupBalancer{}}
	})
	polling, cancel := context.WithCancel(ctx)
	go func() { <-stop; cancel() }()
	for polling.Err() == nil {
		_, _ = joined.FetchMessage(polling)
	}
	return joined.Close()
}
