// Chromium's camera by WHIP, in one codec. Answers with null, or with what this build has instead of the codec.
async ({ url, key, codec }) => {
  const codecs = RTCRtpSender.getCapabilities('video').codecs.filter((known) => known.mimeType === codec);
  if (!codecs.length) return RTCRtpSender.getCapabilities('video').codecs.map((known) => known.mimeType);
  const video = { width: 640, height: 360, frameRate: 30 };
  const media = await navigator.mediaDevices.getUserMedia({ video });
  const connection = new RTCPeerConnection();
  const transceiver = connection.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly' });
  transceiver.setCodecPreferences(codecs);
  await connection.setLocalDescription();
  const headers = { 'Content-Type': 'application/sdp', Authorization: `Bearer ${key}` };
  let answer;
  do {
    if (answer) await new Promise((done) => setTimeout(done, 1000 * answer.headers.get('Retry-After')));
    answer = await fetch(url, { method: 'POST', headers, body: connection.localDescription.sdp });
  } while (answer.status === 503);
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  await connection.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  (window.connections ??= []).push(connection);
  return null;
}
