// Publishes a recording by WHIP with Pion, a WebRTC stack that shares no code with this project.
//
//	pion -url URL -key KEY -video FILE.h264|FILE.ivf [-jump time|sequence] [-after 4]
//
// Pion offers its default codecs, VP8 first, whatever the recording is. After `-after` seconds, `-jump` moves the RTP
// time back by ten seconds, or restarts the sequence numbers. The process ends by itself at the end of the recording.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/h264reader"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
)

const (
	clockHz        = 90000
	framesPerS     = 30
	packetBytes    = 1200
	jumpTicks      = 10 * clockHz
	sequenceJump   = 30000
	connectTimeout = 30 * time.Second
)

// recording returns the next frame, io.EOF at the end.
type recording interface {
	next() ([]byte, error)
}

type h264Recording struct {
	reader *h264reader.H264Reader
}

// next joins NAL units up to the next slice, which ends the access unit: the recordings have one slice per picture.
func (recording *h264Recording) next() ([]byte, error) {
	var unit []byte
	for {
		nal, err := recording.reader.NextNAL()
		if err != nil {
			return nil, err
		}
		unit = append(append(unit, 0, 0, 0, 1), nal.Data...)
		if nal.UnitType == h264reader.NalUnitTypeCodedSliceIdr || nal.UnitType == h264reader.NalUnitTypeCodedSliceNonIdr {
			return unit, nil
		}
	}
}

type ivfRecording struct {
	reader *ivfreader.IVFReader
}

func (recording *ivfRecording) next() ([]byte, error) {
	frame, _, err := recording.reader.ParseNextFrame()
	return frame, err
}

func main() {
	url := flag.String("url", "", "WHIP endpoint")
	key := flag.String("key", "", "API key")
	video := flag.String("video", "", "recording, .h264 or .ivf")
	jump := flag.String("jump", "", "time or sequence")
	after := flag.Float64("after", 4, "seconds until the jump")
	flag.Parse()
	if err := publish(*url, *key, *video, *jump, *after); err != nil {
		log.Fatal(err)
	}
}

func publish(url, key, video, jump string, afterS float64) error {
	media, mime, payloader, err := open(video)
	if err != nil {
		return err
	}
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer connection.Close()
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, "video", "pion")
	if err != nil {
		return err
	}
	sender, err := connection.AddTrack(track)
	if err != nil {
		return err
	}
	go drain(sender)
	connected := make(chan struct{})
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		fmt.Println("state", state)
		if state == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	session, err := negotiate(connection, url, key)
	if err != nil {
		return err
	}
	defer hangUp(session, key)
	select {
	case <-connected:
	case <-time.After(connectTimeout):
		return errors.New("not connected in time")
	}
	return send(media, track, payloader, jump, int(afterS*framesPerS))
}

func open(path string) (recording, string, rtp.Payloader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", nil, err
	}
	if strings.HasSuffix(path, ".ivf") {
		reader, _, err := ivfreader.NewWith(file)
		return &ivfRecording{reader}, webrtc.MimeTypeVP8, &codecs.VP8Payloader{EnablePictureID: true}, err
	}
	reader, err := h264reader.NewReader(file)
	return &h264Recording{reader: reader}, webrtc.MimeTypeH264, &codecs.H264Payloader{}, err
}

func negotiate(connection *webrtc.PeerConnection, url, key string) (string, error) {
	offer, err := connection.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(offer); err != nil {
		return "", err
	}
	<-gathered
	status, location, answer, err := request("POST", url, key, connection.LocalDescription().SDP)
	if err != nil {
		return "", err
	}
	if status != http.StatusCreated {
		return "", fmt.Errorf("the offer was answered with %d: %s", status, answer)
	}
	remote := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}
	return location, connection.SetRemoteDescription(remote)
}

// send packs each frame itself, so that the test decides on times and numbers.
func send(media recording, track *webrtc.TrackLocalStaticRTP, payloader rtp.Payloader, jump string, jumpAt int) error {
	packetizer := rtp.NewPacketizer(packetBytes, 0, 0, payloader, rtp.NewRandomSequencer(), clockHz)
	var timeOffset uint32
	var sequenceOffset uint16
	ticker := time.NewTicker(time.Second / framesPerS)
	defer ticker.Stop()
	for number := 0; ; number++ {
		frame, err := media.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if number == jumpAt && jump == "time" {
			timeOffset -= jumpTicks
		}
		if number == jumpAt && jump == "sequence" {
			sequenceOffset += sequenceJump
		}
		for _, packet := range packetizer.Packetize(frame, clockHz/framesPerS) {
			packet.Timestamp += timeOffset
			packet.SequenceNumber += sequenceOffset
			if err := track.WriteRTP(packet); err != nil {
				return err
			}
		}
		<-ticker.C
	}
}

func drain(sender *webrtc.RTPSender) {
	buffer := make([]byte, 1500)
	for {
		if _, _, err := sender.Read(buffer); err != nil {
			return
		}
	}
}

func hangUp(session, key string) {
	if status, _, _, err := request("DELETE", session, key, ""); err != nil || status != http.StatusOK {
		log.Print("the session could not be ended: ", status, err)
	}
}

// request returns status, absolute Location and body of the answer.
func request(method, url, key, body string) (int, string, string, error) {
	made, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", "", err
	}
	made.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		made.Header.Set("Content-Type", "application/sdp")
	}
	answer, err := http.DefaultClient.Do(made)
	if err != nil {
		return 0, "", "", err
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		return 0, "", "", err
	}
	location := ""
	if named, err := answer.Location(); err == nil {
		location = named.String()
	}
	return answer.StatusCode, location, text.String(), nil
}
