"""Video files and folders of pictures to RGB frames, by number and by time (the only home of PyAV).

A file from outside is opened and decoded in a process of its own that has no files to open, no network, no secrets in its
environment, and limits of memory and time; it hands frames over in shared memory and ends with its owner.

    with open_video_file("clip.mp4") as video:
        for number, picture in enumerate(video.frames()):
            ...

`open_video_file` is in `video.opening`, `write_video` in `video.writing`.
"""
