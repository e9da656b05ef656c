// Lets a test drive the Go client: one command per line on standard input, one answer per line on standard
// output, both JSON (see ../foreign_client.py). Arguments: the address of the NameServer, the group.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// message is one to send, or one that was received; its body travels in base64.
type message struct {
	Topic          string `json:"topic"`
	Body           []byte `json:"body"`
	Tags           string `json:"tags"`
	Keys           string `json:"keys"`
	DelayLevel     int    `json:"delayLevel,omitempty"`
	MsgID          string `json:"msgId"`
	ReconsumeTimes int32  `json:"reconsumeTimes"`
	BornTimestamp  int64  `json:"bornTimestamp"`
	StoreTimestamp int64  `json:"storeTimestamp"`
}

type command struct {
	Do         string    `json:"do"`
	Messages   []message `json:"messages"`
	Topic      string    `json:"topic"`
	Expression string    `json:"expression"`
	Count      int       `json:"count"`
	TimeoutMs  int       `json:"timeoutMs"`
}

type driver struct {
	namesrv  primitive.NamesrvAddr
	group    string
	producer rocketmq.Producer
	consumer rocketmq.PushConsumer

	lock     sync.Mutex
	received []message
}

func main() {
	driver := &driver{namesrv: primitive.NamesrvAddr{os.Args[1]}, group: os.Args[2]}
	answers := os.Stdout
	os.Stdout = os.Stderr // whatever the library prints must not be taken for an answer
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		answer, err := driver.carryOut(lines.Bytes())
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		answer["ok"] = err == nil
		line, _ := json.Marshal(answer)
		fmt.Fprintln(answers, string(line))
	}
	driver.stop()
}

func (d *driver) carryOut(line []byte) (map[string]any, error) {
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		return nil, err
	}
	switch c.Do {
	case "send":
		return d.send(c.Messages)
	case "subscribe":
		return map[string]any{}, d.subscribe(c.Topic, c.Expression)
	case "received":
		return map[string]any{"messages": d.await(c.Count, time.Duration(c.TimeoutMs)*time.Millisecond)}, nil
	}
	return nil, fmt.Errorf("no command %s", c.Do)
}

func (d *driver) send(messages []message) (map[string]any, error) {
	if d.producer == nil {
		started, err := rocketmq.NewProducer(
			producer.WithNameServer(d.namesrv), producer.WithGroupName(d.group+"-producer"))
		if err == nil {
			err = started.Start()
		}
		if err != nil {
			return nil, err
		}
		d.producer = started
	}
	results := []map[string]any{}
	for _, item := range messages {
		outgoing := primitive.NewMessage(item.Topic, item.Body)
		if item.Tags != "" {
			outgoing.WithTag(item.Tags)
		}
		if item.Keys != "" {
			outgoing.WithKeys([]string{item.Keys})
		}
		if item.DelayLevel > 0 {
			outgoing.WithDelayTimeLevel(item.DelayLevel)
		}
		result, err := d.producer.SendSync(context.Background(), outgoing)
		if err != nil {
			return nil, err
		}
		results = append(results, map[string]any{"sent": result.Status == primitive.SendOK, "msgId": result.MsgID})
	}
	return map[string]any{"results": results}, nil
}

func (d *driver) subscribe(topic string, expression string) error {
	started, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(d.namesrv),
		consumer.WithGroupName(d.group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
	if err = started.Subscribe(topic, selector, d.consume); err == nil {
		err = started.Start()
	}
	d.consumer = started
	return err
}

func (d *driver) consume(_ context.Context, arrived ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	result := consumer.ConsumeSuccess
	for _, one := range arrived {
		d.received = append(d.received, message{
			Topic: one.Topic, Body: one.Body, Tags: one.GetTags(), Keys: one.GetKeys(), MsgID: one.MsgId,
			ReconsumeTimes: one.ReconsumeTimes, BornTimestamp: one.BornTimestamp, StoreTimestamp: one.StoreTimestamp,
		})
		if one.ReconsumeTimes == 0 && strings.HasPrefix(string(one.Body), "fail once") {
			result = consumer.ConsumeRetryLater
		}
	}
	return result, nil
}

func (d *driver) await(count int, timeout time.Duration) []message {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		d.lock.Lock()
		messages := append([]message{}, d.received...)
		d.lock.Unlock()
		if len(messages) >= count || time.Now().After(deadline) {
			return messages
		}
	}
}

func (d *driver) stop() {
	if d.consumer != nil {
		_ = d.consumer.Shutdown()
	}
	if d.producer != nil {
		_ = d.producer.Shutdown()
	}
}
