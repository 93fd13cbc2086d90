import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/* Fail.java HOW HOST PORT: does what the kernel refuses, so that the JVM's own words are seen. */
public class Fail {
    public static void main(String[] args) throws Exception {
        InetSocketAddress at = new InetSocketAddress(args[1], Integer.parseInt(args[2]));
        Socket socket = new Socket();

        switch (args[0]) {
        case "server":
            new ServerSocket(at.getPort(), 8, at.getAddress());
            break;
        case "nio-server":
            ServerSocketChannel.open().bind(at);
            break;
        case "udp":
            new DatagramSocket(at.getPort(), at.getAddress());
            break;
        case "client":
            socket.connect(at);
            break;
        case "bound-client":
            socket.bind(new InetSocketAddress("127.0.0.1", 0));
            socket.connect(at);
            break;
        case "nio-client":
            SocketChannel.open(at);
            break;
        case "http":
            HttpClient.newHttpClient().send(
                HttpRequest.newBuilder(URI.create("http://" + args[1] + ":" + args[2])).build(),
                HttpResponse.BodyHandlers.ofString());
            break;
        default:
            throw new IllegalArgumentException(args[0]);
        }
    }
}
